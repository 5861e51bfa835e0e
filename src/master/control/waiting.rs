//! Verbs that wait until something is finished: taken and answered.
//!
//! It must not know what finishes when.

use super::connection::{Activity, Connection};
use super::server::ControlServer;
use super::{Answer, Awaited, Errand};

impl ControlServer {
    /// An errand that nobody has taken yet, and the number under which its verb waits.
    pub(in crate::master) fn take_errand(&mut self) -> Option<(u64, Errand)> {
        self.connections
            .iter_mut()
            .find_map(|(number, connection)| {
                let Activity::Waiting(Awaited::Attention(errand)) = connection.activity else {
                    return None;
                };
                connection.activity = Activity::Waiting(Awaited::End);
                Some((*number, errand))
            })
    }

    /// What the verb of this number waits for.
    pub(in crate::master) fn wait_for(&mut self, number: u64, awaited: Awaited) {
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.activity = Activity::Waiting(awaited);
        }
    }

    /// Answers all verbs that have waited for this: the result, or why there is none.
    pub(in crate::master) fn finish(
        &mut self,
        is_it: impl Fn(Awaited) -> bool,
        result: &Result<String, String>,
    ) {
        let waits = |connection: &Connection| match connection.activity {
            Activity::Waiting(awaited) => is_it(awaited),
            Activity::Listening
            | Activity::Publishing(_)
            | Activity::Tailing(_)
            | Activity::Leaving => false,
        };
        let concerned = self.connections.iter().filter(|(_, it)| waits(it));
        let numbers: Vec<u64> = concerned.map(|(number, _)| *number).collect();
        for number in numbers {
            let Some(connection) = self.connections.get_mut(&number) else {
                continue;
            };
            match result {
                Ok(result) => {
                    connection.answer(&Answer::Done {
                        result: result.clone(),
                    });
                    connection.activity = Activity::Listening;
                }
                Err(reason) => connection.refuse(reason.clone()),
            }
            let fate = connection.flush();
            self.settle(number, fate);
        }
    }
}
