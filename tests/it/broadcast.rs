//! What is published in one place reaches every client of every worker, once and in order.

use crate::MASTER;
use crate::peer::{BINARY, Event, Peer, TEXT, masked};
use crate::server::Server;
use crate::status::Status;

const WORKERS: usize = 4;
const CLIENTS: usize = 40;

fn start(options: &[&str]) -> Server {
    Server::start(MASTER, &[&["--processes", "4"], options].concat())
}

/// Clients of a channel, spread over all workers.
fn listeners(server: &Server, path: &str) -> Vec<Peer> {
    let clients: Vec<Peer> = (0..CLIENTS).map(|_| Peer::of(server, path)).collect();
    let status = Status::wait(server, "the subscriptions", |status| {
        status.subscriptions() as usize == CLIENTS
    });
    for worker in &status.workers {
        assert!(
            worker.clients as usize >= CLIENTS / WORKERS / 2,
            "{:?}",
            status.workers
        );
    }
    clients
}

#[test]
fn a_message_reaches_every_client_of_every_worker() {
    let server = start(&[]);
    let mut clients = listeners(&server, "/news");
    assert_eq!(server.publish("news", "hello"), "reached 4 of 4 workers\n");
    server.publish("other", "not for these");
    server.publish("news", "");
    server.publish("news", "grüße, 🔔");
    for client in &mut clients {
        for text in ["hello", "", "grüße, 🔔"] {
            client.expect(text);
        }
    }
}

#[test]
fn the_status_counts_what_there_is() {
    let server = start(&[]);
    let mut clients = listeners(&server, "/news");
    for number in 0..3 {
        server.publish("news", &format!("message {number}"));
    }
    server.publish("nobody/listens", "to this");
    for client in &mut clients {
        for number in 0..3 {
            client.expect(&format!("message {number}"));
        }
    }
    let status = Status::wait(&server, "120 deliveries", |status| {
        status.log.delivered == 120
    });
    assert_eq!(status.pid, server.pid().as_raw());
    assert_eq!(status.phase, "running");
    assert_eq!(status.listeners, [server.address().to_string()]);
    assert_eq!((status.clients(), status.subscriptions()), (40, 40));
    assert_eq!(
        status
            .workers
            .iter()
            .map(|worker| worker.slot)
            .collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    assert_eq!((status.log.published, status.log.lapped), (4, 0));
    let news = &status.channels[0];
    assert_eq!(
        (news.name.as_str(), news.messages, news.subscribers),
        ("news", 3, 40)
    );
    let nobody = &status.channels[1];
    assert_eq!(
        (nobody.name.as_str(), nobody.messages, nobody.subscribers),
        ("nobody/listens", 1, 0)
    );
    drop(clients);
    Status::wait(&server, "nobody", |status| {
        (status.clients(), status.subscriptions()) == (0, 0)
    });
}

#[test]
fn clients_that_publish_in_different_workers_are_heard_in_one_order_by_all() {
    const PUBLISHERS: usize = 8;
    const MESSAGES: usize = 100;
    let server = start(&["--clients-publish"]);
    let mut clients = listeners(&server, "/chat");
    std::thread::scope(|scope| {
        for (publisher, client) in clients[..PUBLISHERS].iter_mut().enumerate() {
            let mut stream = client.stream().try_clone().unwrap();
            scope.spawn(move || {
                for number in 0..MESSAGES {
                    let text = format!("{publisher}:{number}");
                    std::io::Write::write_all(&mut stream, &masked(TEXT, text.as_bytes())).unwrap();
                }
            });
        }
    });
    let heard = |client: &mut Peer| -> Vec<String> {
        let next = |_| match client.read().unwrap() {
            Event::Text(text) => text,
            other @ (Event::Binary(_) | Event::Close(_) | Event::Ended | Event::Cut) => {
                panic!("{other:?}")
            }
        };
        (0..PUBLISHERS * MESSAGES).map(next).collect()
    };
    let first = heard(&mut clients[0]);
    for publisher in 0..PUBLISHERS {
        let prefix = format!("{publisher}:");
        let own = first
            .iter()
            .filter_map(|text| text.strip_prefix(&prefix)?.parse::<usize>().ok());
        assert_eq!(own.collect::<Vec<_>>(), (0..MESSAGES).collect::<Vec<_>>());
    }
    for client in &mut clients[1..] {
        assert_eq!(heard(client), first);
    }
}

#[test]
fn text_stays_text_and_binary_stays_binary() {
    let server = start(&["--clients-publish"]);
    let mut clients = listeners(&server, "/chat");
    std::io::Write::write_all(clients[0].stream(), &masked(BINARY, &[0, 255])).unwrap();
    clients[0].send("text").unwrap();
    for client in &mut clients {
        assert_eq!(client.read().unwrap(), Event::Binary(vec![0, 255]));
        client.expect("text");
    }
}

#[test]
fn an_echo_beside_the_channels_answers_its_own_clients_only() {
    let server = start(&["--mount", "/echo=app:echo"]);
    let mut listener = Peer::of(&server, "/echos");
    let mut echo = Peer::of(&server, "/echo");
    echo.send("to myself").unwrap();
    echo.send_binary(&[1, 2]).unwrap();
    echo.expect("to myself");
    assert_eq!(echo.read().unwrap(), Event::Binary(vec![1, 2]));
    server.publish("echos", "to the channel");
    listener.expect("to the channel");
}
