//! The table of areas: making them, finding them, showing them. It must not know what is done with
//! their bytes.

use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::body::{AreaKind, Body};
use super::head::HEAD_BYTES;
use super::spec::{AREAS_MAX, AreaProblem, AreaSource, AreaSpec, AreaSpecError};
use super::{Area, AreaError};
use crate::sharedarea::SharedArea;
use crate::sharedarea::algorithm::board;
use crate::sharedarea::algorithm::lock::slot_of_word;
use crate::sharedarea::algorithm::memory::Memory;
use crate::sharedarea::area::Inner;
use crate::sharedarea::objects::{AttachError, Objects};

const NAME_WORDS: usize = board::AREA_NAME_BYTES_MAX / 8;

/// What the board shows of an area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AreaInfo {
    /// Its number.
    pub id: u8,
    /// Its name.
    pub name: Option<String>,
    /// What it is made of.
    pub kind: AreaKind,
    /// Its bytes.
    pub bytes: u64,
    /// Where it begins in its file.
    pub offset: u64,
    /// Bytes that mean something, if somebody said so.
    pub used: Option<u64>,
    /// Updates so far.
    pub updates: u64,
    /// Reads so far.
    pub hits: u64,
    /// Slots that hold the read lock.
    pub readers: Vec<u16>,
    /// The slot that holds the write lock.
    pub writer: Option<u16>,
    /// How often the master looks at its head, milliseconds; 0 = never.
    pub watch_ms: u32,
}

impl Inner {
    /// The bytes of an area that exists.
    pub(super) fn body(&self, id: u8) -> &Body {
        &self.bodies()[usize::from(id)]
    }

    fn bodies(&self) -> &[Body] {
        self.bodies.get().map_or(&[], |bodies| bodies)
    }
}

impl SharedArea {
    /// Whether [`Self::make_areas`] could make these. No memory is taken.
    ///
    /// # Errors
    /// Which one cannot be made, and why.
    pub fn check_areas(specs: &[AreaSpec]) -> Result<(), AreaSpecError> {
        if specs.len() > AREAS_MAX {
            return Err(wrong(specs, AREAS_MAX, AreaProblem::TooMany));
        }
        for id in 0..specs.len() {
            check_area(specs, id).map_err(|problem| wrong(specs, id, problem))?;
        }
        Ok(())
    }

    /// Makes the areas, numbered in this order. Once, before the first fork.
    ///
    /// # Errors
    /// Which one cannot be made, and why; there are none then.
    pub fn make_areas(&self, specs: &[AreaSpec]) -> Result<(), AreaSpecError> {
        let fail = |id, problem| wrong(specs, id, problem);
        if self.inner.bodies.get().is_some() {
            return Err(fail(0, AreaProblem::Late));
        }
        Self::check_areas(specs)?;
        let mut bodies = Vec::with_capacity(specs.len());
        for (id, spec) in specs.iter().enumerate() {
            let body = Body::create(id, &spec.source, spec.size);
            bodies.push(body.map_err(|problem| fail(id, problem))?);
        }
        for (id, (spec, body)) in (0..=u8::MAX).zip(specs.iter().zip(&bodies)) {
            self.objects().write_area(id, spec, body);
        }
        // It was empty a moment ago, and there is one thread.
        let _set = self.inner.bodies.set(bodies.into());
        Ok(())
    }

    /// The areas' descriptors, in the order of their numbers, for handing over.
    pub fn area_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.inner.bodies().iter().map(Body::fd)
    }

    /// Takes the areas that the board names, from descriptors in the order of [`Self::area_fds`].
    ///
    /// # Errors
    /// What is wrong with them; there are none then.
    pub fn attach_areas(&self, fds: Vec<OwnedFd>) -> Result<(), AttachError> {
        let mut bodies = Vec::with_capacity(fds.len());
        for (id, fd) in (0..=u8::MAX).zip(fds) {
            let body = self.objects().read_area(id, fd);
            bodies.push(body.map_err(|source| AttachError::Map {
                object: "area",
                source,
            })?);
        }
        let _set = self.inner.bodies.set(bodies.into());
        Ok(())
    }

    /// The area of this number.
    ///
    /// # Errors
    /// [`AreaError::NoArea`].
    pub fn area(&self, id: u8) -> Result<Area, AreaError> {
        if usize::from(id) >= self.inner.bodies().len() {
            return Err(AreaError::NoArea);
        }
        Ok(Area {
            inner: Rc::clone(&self.inner),
            id,
        })
    }

    /// The area of this name or, in decimal, number.
    ///
    /// # Errors
    /// [`AreaError::NoArea`].
    pub fn find_area(&self, text: &str) -> Result<Area, AreaError> {
        let named = self
            .areas()
            .find(|area| area.name().as_deref() == Some(text));
        match (named, text.parse()) {
            (Some(area), _) => Ok(area),
            (None, Ok(id)) => self.area(id),
            (None, Err(_)) => Err(AreaError::NoArea),
        }
    }

    /// All areas, in order.
    pub fn areas(&self) -> impl Iterator<Item = Area> {
        (0..=u8::MAX).map_while(|id| self.area(id).ok())
    }
}

impl Area {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        let bytes = self.half(board::AREA_NAME_BYTES).load(Ordering::Relaxed) as usize;
        let mut name = Vec::with_capacity(board::AREA_NAME_BYTES_MAX);
        for word in 0..NAME_WORDS {
            let word = self
                .word(board::AREA_NAME + 8 * word)
                .load(Ordering::Relaxed);
            name.extend(word.to_le_bytes());
        }
        name.truncate(bytes);
        String::from_utf8(name).ok().filter(|name| !name.is_empty())
    }

    /// Where its file is, if it was named by a path.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.body().path()
    }

    /// The descriptor of its memory object or file.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.body().fd()
    }

    /// The line that tells of it at the start.
    #[must_use]
    pub fn describe(&self) -> String {
        let info = self.info();
        let mut text = format!("sharedarea {}", info.id);
        if let Some(name) = &info.name {
            text.push_str(&format!(" ({name})"));
        }
        text.push_str(&format!(": {} bytes of ", info.bytes));
        match self.path() {
            Some(path) => text.push_str(&path.display().to_string()),
            None => text.push_str(info.kind.name()),
        }
        if info.offset > 0 {
            text.push_str(&format!(" from byte {} on", info.offset));
        }
        if info.watch_ms > 0 {
            text.push_str(&format!(", watched every {} ms", info.watch_ms));
        }
        text
    }

    /// What the board shows of it.
    #[must_use]
    pub fn info(&self) -> AreaInfo {
        let readers = self.word(board::AREA_READERS).load(Ordering::Relaxed);
        let writer = self.half(board::AREA_WRITER).load(Ordering::Relaxed);
        AreaInfo {
            id: self.id(),
            name: self.name(),
            kind: self.body().kind(),
            bytes: self.bytes(),
            offset: self.body().offset(),
            used: self.used(),
            updates: self.updates(),
            hits: self.word(board::AREA_HITS).load(Ordering::Relaxed),
            readers: board::slots(readers).collect(),
            writer: slot_of_word(writer),
            watch_ms: self.half(board::AREA_WATCH_MS).load(Ordering::Relaxed),
        }
    }
}

impl Objects {
    /// Fills the record of a new area; nobody else looks yet.
    fn write_area(&self, id: u8, spec: &AreaSpec, body: &Body) {
        let half = |field, value| {
            let word = self.board32(board::area(id, field));
            word.store(value, Ordering::Relaxed);
        };
        let word = |field, value| {
            let word = self.board64(board::area(id, field));
            word.store(value, Ordering::Relaxed);
        };
        word(board::AREA_BYTES, body.bytes());
        word(board::AREA_OFFSET, body.offset());
        half(board::AREA_WATCH_MS, spec.watch_ms);
        let name = spec.name.as_deref().unwrap_or_default().as_bytes();
        let mut padded = [0; board::AREA_NAME_BYTES_MAX];
        for (to, from) in padded.iter_mut().zip(name) {
            *to = *from;
        }
        for (at, chunk) in padded.as_chunks().0.iter().enumerate() {
            word(board::AREA_NAME + 8 * at, u64::from_le_bytes(*chunk));
        }
        half(
            board::AREA_NAME_BYTES,
            u32::try_from(name.len()).unwrap_or(0),
        );
        let kind = self.board32(board::area(id, board::AREA_KIND));
        // Release: whoever sees the kind sees the rest.
        kind.store(body.kind() as u32, Ordering::Release);
    }

    /// Opens an area that the board names.
    fn read_area(&self, id: u8, fd: OwnedFd) -> std::io::Result<Body> {
        let word = |field| self.board64(board::area(id, field)).load(Ordering::Relaxed);
        let invalid = || std::io::Error::from(std::io::ErrorKind::InvalidData);
        let kind = self.board32(board::area(id, board::AREA_KIND));
        let kind = AreaKind::of_word(kind.load(Ordering::Acquire)).ok_or_else(invalid)?;
        let (offset, bytes) = (word(board::AREA_OFFSET), word(board::AREA_BYTES));
        match kind {
            AreaKind::Memory => Body::of_memory(fd, bytes),
            AreaKind::File | AreaKind::Descriptor => {
                Body::of_file(kind, File::from(fd), offset, bytes).map_err(|_| invalid())
            }
        }
    }
}

fn wrong(specs: &[AreaSpec], id: usize, problem: AreaProblem) -> AreaSpecError {
    let spec = specs.get(id);
    let what = spec.map(|spec| describe(&spec.source)).unwrap_or_default();
    AreaSpecError { id, what, problem }
}

fn check_area(specs: &[AreaSpec], id: usize) -> Result<(), AreaProblem> {
    let Some(spec) = specs.get(id) else {
        return Ok(());
    };
    check_name(specs, id)?;
    let bytes = Body::check(id, &spec.source, spec.size)?;
    if spec.watch_ms > 0 && bytes <= HEAD_BYTES {
        return Err(AreaProblem::NoRoomForHead(HEAD_BYTES));
    }
    Ok(())
}

fn check_name(specs: &[AreaSpec], id: usize) -> Result<(), AreaProblem> {
    let Some(name) = specs.get(id).and_then(|spec| spec.name.as_deref()) else {
        return Ok(());
    };
    let fits = (1..=board::AREA_NAME_BYTES_MAX).contains(&name.len());
    if !fits || name.chars().any(char::is_control) {
        return Err(AreaProblem::Name);
    }
    let mut before = specs.iter().take(id);
    match before.position(|spec| spec.name.as_deref() == Some(name)) {
        Some(other) => Err(AreaProblem::NameTaken(other)),
        None => Ok(()),
    }
}

fn describe(source: &AreaSource) -> String {
    match source {
        AreaSource::Memory => "memory".to_owned(),
        AreaSource::File { path, .. } => format!("file={}", path.display()),
        AreaSource::Descriptor { fd, .. } => format!("fd={fd}"),
    }
}
