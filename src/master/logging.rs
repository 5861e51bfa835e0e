//! Log lines: `time level role[slot] message`, or the same as a JSON object a line. The request log is
//! uWSGI's and carries its own time and process. A warning that repeats is written once a second, with the
//! number of those left out: each of a worker, and those of the master that others can cause at will. A reader that does not read holds nobody up: what it does not take
//! is lost, and told with one line when it reads again.
//!
//! It must not know what is logged.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use log::kv::{Key, Value, VisitSource, VisitValue};
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde_json::{Map, json};

use super::repeats::Repeats;
use crate::config::LogFormat;
use crate::engine::REQUEST_LOG;
use crate::status::counted;
use crate::sys::lines;

/// The target of a warning of the master that others can cause as often as they like. All its others,
/// one place in the code may have several to tell at once.
pub(super) const REPEATABLE: &str = "bellwether::repeatable";

/// Pause between two attempts to tell that lines were lost, while nothing is logged.
const TELL_PAUSE_MS: u64 = 100;

/// The slot of the worker that this process is; 0 for the master.
static SLOT: AtomicU16 = AtomicU16::new(0);

/// Starts logging to standard error. `level` comes from the configuration; without it RUST_LOG
/// decides, and without that it is info.
pub fn begin(level: Option<LevelFilter>, format: LogFormat) {
    lines::look();
    let mut builder = env_logger::Builder::new();
    builder.filter_level(LevelFilter::Info);
    builder.target(env_logger::Target::Pipe(Box::new(StandardError)));
    match level {
        Some(level) => builder.filter_level(level),
        None => builder.parse_default_env(),
    };
    builder.format(move |line, record| {
        let time = line.timestamp_millis();
        match format {
            LogFormat::Json => writeln!(line, "{}", object(&time, record)),
            LogFormat::Text if record.target() == REQUEST_LOG => {
                writeln!(line, "{}", record.args())
            }
            LogFormat::Text => {
                let level = record.level();
                writeln!(line, "{time} {level:<5} {} {}", Role(slot()), record.args())
            }
        }
    });
    let logger = builder.build();
    log::set_max_level(logger.filter());
    // A second start, as in tests, leaves the first in place.
    let _already: Result<(), log::SetLoggerError> =
        log::set_boxed_logger(Box::new(Limited::new(logger)));
}

/// Gets each line as one piece.
struct StandardError;

impl io::Write for StandardError {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        lines::write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From here on this process is the worker of a slot. What the master has left out is the master's to tell.
pub(super) fn become_worker(slot: u16) {
    SLOT.store(slot, Ordering::Relaxed);
    *repeats() = Repeats::default();
    LEFT_OUT.store(false, Ordering::Relaxed);
}

/// Whether [`Log::flush`] is wanted in a while even if nothing happens.
pub(super) fn has_more_to_tell() -> bool {
    LEFT_OUT.load(Ordering::Relaxed) || lines::is_behind()
}

/// A panic while it was held left nothing half done that would matter.
fn repeats() -> MutexGuard<'static, Repeats> {
    REPEATS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn slot() -> u16 {
    SLOT.load(Ordering::Relaxed)
}

struct Role(u16);

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("master"),
            slot => write!(f, "worker[{slot}]"),
        }
    }
}

/// A line for programs; the fields that came along stand beside the message.
fn object(time: &dyn fmt::Display, record: &Record<'_>) -> serde_json::Value {
    let mut fields = Fields(Map::new());
    // Collecting into a map cannot fail.
    let _infallible = record.key_values().visit(&mut fields);
    let mut object = fields.0;
    let role = if slot() == 0 { "master" } else { "worker" };
    object.insert("time".to_owned(), json!(time.to_string()));
    object.insert(
        "level".to_owned(),
        json!(record.level().as_str().to_lowercase()),
    );
    object.insert("role".to_owned(), json!(role));
    object.insert("slot".to_owned(), json!(slot()));
    object.insert("pid".to_owned(), json!(std::process::id()));
    object.insert("message".to_owned(), json!(record.args().to_string()));
    serde_json::Value::Object(object)
}

struct Fields(Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        let mut one = Field(serde_json::Value::Null);
        value.visit(&mut one)?;
        self.0.insert(key.as_str().to_owned(), one.0);
        Ok(())
    }
}

struct Field(serde_json::Value);

impl<'v> VisitValue<'v> for Field {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), log::kv::Error> {
        self.0 = json!(value.to_string());
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), log::kv::Error> {
        self.0 = json!(value);
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), log::kv::Error> {
        self.0 = json!(value);
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), log::kv::Error> {
        self.0 = json!(value);
        Ok(())
    }
}

/// Writes everything but repetitions of warnings, and what nobody reads.
struct Limited {
    logger: env_logger::Logger,
    /// When it was last tried to tell of lost lines.
    tried_ms: AtomicU64,
    begun: Instant,
}

/// Warnings that were written lately.
static REPEATS: Mutex<Repeats> = Mutex::new(Repeats::new());

/// Something was left out that nobody was told of.
static LEFT_OUT: AtomicBool = AtomicBool::new(false);

impl Limited {
    fn new(logger: env_logger::Logger) -> Self {
        Self {
            logger,
            tried_ms: AtomicU64::new(0),
            begun: now(),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(now().duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }

    fn with_count(&self, record: &Record<'_>, text: &str, left_out: u64) {
        let args = format_args!("{text} (and {left_out} more like it)");
        let counted = Record::builder()
            .level(record.level())
            .target(record.target())
            .args(args)
            .build();
        self.write(&counted);
    }

    /// Behind lines that are lost comes their number, or nothing.
    fn write(&self, record: &Record<'_>) {
        if self.tell_lost() {
            self.logger.log(record);
        } else {
            lines::lose(1);
        }
    }

    /// Tells how many lines are lost, if any; `false` while not even that is taken.
    fn tell_lost(&self) -> bool {
        let lost = lines::lost();
        if lost == 0 {
            return true;
        }
        let args = format_args!(
            "{} of the log lost: nobody has read it",
            counted(lost, "line")
        );
        let notice = Record::builder()
            .level(Level::Error)
            .target("bellwether")
            .args(args)
            .build();
        self.logger.log(&notice);
        let is_told = lines::lost() == lost;
        // A notice that was not taken is no loss.
        lines::tell(if is_told { lost } else { 1 });
        is_told
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "lines are logged outside of any turn, too"
)]
fn now() -> Instant {
    Instant::now()
}

impl Log for Limited {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.logger.matches(record) {
            return;
        }
        let is_limited =
            record.level() == Level::Warn && (slot() > 0 || record.target() == REPEATABLE);
        if !is_limited {
            return self.write(record);
        }
        let site = (
            record.module_path_static().unwrap_or_default(),
            record.line().unwrap_or(0),
        );
        match repeats().note(site, self.now_ms(), || record.args().to_string()) {
            Some(0) => self.write(record),
            Some(left_out) => self.with_count(record, &record.args().to_string(), left_out),
            None => LEFT_OUT.store(true, Ordering::Relaxed),
        }
    }

    /// Tells what was left out of warnings that have not come again, and what is lost. Called each turn.
    fn flush(&self) {
        if lines::is_behind() {
            let now_ms = self.now_ms();
            let tried_ms = self.tried_ms.load(Ordering::Relaxed);
            if now_ms >= tried_ms + TELL_PAUSE_MS {
                self.tried_ms.store(now_ms, Ordering::Relaxed);
                let _later = lines::finish() && self.tell_lost();
            }
        }
        if !LEFT_OUT.load(Ordering::Relaxed) {
            return;
        }
        let mut repeats = repeats();
        for (text, left_out) in repeats.overdue(self.now_ms()) {
            let record = Record::builder()
                .level(Level::Warn)
                .target("bellwether")
                .build();
            self.with_count(&record, &text, left_out);
        }
        LEFT_OUT.store(repeats.has_left_out(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_read_as_words() {
        assert_eq!(Role(0).to_string(), "master");
        assert_eq!(Role(7).to_string(), "worker[7]");
    }

    #[test]
    fn a_line_for_programs_has_the_fields_that_came_along() {
        let fields: &[(&str, Value<'_>)] = &[
            ("status", Value::from(200_u16)),
            ("uri", Value::from("/a\"b")),
            ("clean", Value::from(true)),
        ];
        let record = Record::builder()
            .level(Level::Info)
            .args(format_args!("one\ntwo"))
            .key_values(&fields)
            .build();
        let line = object(&"now", &record).to_string();
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(!line.contains('\n'), "{line}");
        assert_eq!(read["message"], "one\ntwo");
        assert_eq!(
            (&read["status"], &read["uri"]),
            (&json!(200), &json!("/a\"b"))
        );
        assert_eq!(
            (&read["clean"], &read["level"]),
            (&json!(true), &json!("info"))
        );
        assert_eq!(
            (&read["role"], &read["time"]),
            (&json!("master"), &json!("now"))
        );
    }
}
