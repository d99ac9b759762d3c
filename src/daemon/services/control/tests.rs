use std::time::UNIX_EPOCH;

use tokio::task::JoinHandle;

use super::super::api::mock::{MockApi, ROWS};
use super::*;
use crate::api::{Answer, Question};
use crate::cli::client::{ClientError, ask};
use crate::stats::Notice;

/// A folder of its own that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("catbird-control-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn control(&self) -> Control {
        Control { socket: self.0.join("sub/catbird.sock"), mode: 0o660 }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("our own folder");
    }
}

async fn start(api: &MockApi, control: &Control) -> JoinHandle<io::Result<()>> {
    api.set(|config| config.control = control.clone());
    let path = control.socket.clone();
    let task = tokio::spawn(serve(api.clone(), api.config(), None));
    while !path.exists() && !task.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    task
}

async fn request(control: &Control, request: Request) -> Result<Vec<Reply>, ClientError> {
    let path = control.socket.clone();
    tokio::task::spawn_blocking(move || ask(&path, &request)?.collect()).await.expect("the client does not panic")
}

#[tokio::test]
async fn a_long_list_comes_in_pages_and_an_order_is_passed_on() {
    let folder = Folder::new("pages");
    let (api, control) = (MockApi::new(), folder.control());
    let task = start(&api, &control).await;
    let replies = request(&control, Request::Query(Question::Nexthops { cursor: 0 })).await.expect("pages");
    let rows: Vec<usize> = replies
        .iter()
        .flat_map(|reply| match reply {
            Reply::Answer(Answer::Nexthops(page)) => page.rows.iter().map(|row| row.used_by).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(rows, (0..ROWS).collect::<Vec<_>>());
    assert_eq!(replies.len(), 16, "one reply a page");

    let done = request(&control, Request::Command(Command::Drain { wait: false, if_shutdown: false })).await.expect("an answer");
    assert_eq!(done, [Reply::Answer(Answer::Done("done".into()))]);
    assert_eq!(api.heard.lock().expect("fine").last().map(String::as_str), Some("Drain { wait: false, if_shutdown: false }"));
    task.abort();
}

#[tokio::test]
async fn a_block_that_the_configuration_would_refuse_is_refused_here() {
    let folder = Folder::new("blocks");
    let (api, control) = (MockApi::new(), folder.control());
    let task = start(&api, &control).await;
    for (block, why) in [("0.0.0.0/0", "whole address space"), ("fe80::/10", "no unicast"), ("10.244.2.65/26", "perhaps 10.244.2.64/26?")] {
        let order = Request::Command(Command::BlockAdd { net: block.parse().expect("a prefix") });
        let said = request(&control, order).await.expect_err("refused").to_string();
        assert!(said.contains(why) && said.contains(block), "{block}: {said}");
    }
    assert!(api.heard.lock().expect("fine").is_empty(), "the core was not asked");
    let good = Request::Command(Command::BlockAdd { net: "10.244.2.64/26".parse().expect("a prefix") });
    assert_eq!(request(&control, good).await.expect("an answer"), [Reply::Answer(Answer::Done("done".into()))]);
    task.abort();
}

#[tokio::test]
async fn status_tells_of_the_process_and_of_a_reload_that_failed() {
    let folder = Folder::new("status");
    let (api, control) = (MockApi::new(), folder.control());
    let task = start(&api, &control).await;
    let replies = request(&control, Request::Status).await.expect("a status");
    let [Reply::Status(status)] = replies.as_slice() else { panic!("{replies:?}") };
    assert_eq!((status.status.name.as_str(), status.process.pid), ("fake", std::process::id()));
    assert!(status.process.resident_bytes > 1_000_000);
    assert!(status.status.warnings.iter().any(|w| w.ends_with("line 3 is wrong")), "{:?}", status.status.warnings);
    task.abort();
}

#[tokio::test]
async fn the_socket_is_for_owner_and_group_and_replaces_what_a_dead_daemon_left() {
    let folder = Folder::new("stale");
    let control = folder.control();
    fs::create_dir_all(control.socket.parent().expect("a folder")).expect("made");
    drop(std::os::unix::net::UnixListener::bind(&control.socket).expect("bound"));
    assert!(matches!(request(&control, Request::Status).await, Err(ClientError::Stale(_))));

    let (listener, path) = bind(&control, &mut None).expect("the stale one is replaced");
    assert_eq!(fs::metadata(&control.socket).expect("there").permissions().mode() & 0o777, 0o660);
    let second = bind(&control, &mut None).expect_err("one daemon a socket");
    assert!(second.to_string().contains("another catbird runs with it"), "{second}");
    drop((listener, path));
    assert!(!control.socket.exists(), "the name goes with the daemon");
    assert!(matches!(request(&control, Request::Status).await, Err(ClientError::NotRunning(_))));

    fs::write(&control.socket, "a file").expect("written");
    let error = bind(&control, &mut None).expect_err("not ours to remove");
    assert!(error.to_string().contains("something else stands there"), "{error}");
    assert_eq!(fs::read_to_string(&control.socket).expect("still there"), "a file");
}

#[tokio::test]
async fn nonsense_and_endless_requests_are_refused_and_the_next_client_is_served() {
    let folder = Folder::new("nonsense");
    let (api, control) = (MockApi::new(), folder.control());
    let task = start(&api, &control).await;
    let mut stream = UnixStream::connect(&control.socket).await.expect("connected");
    stream.write_all(b"{\"query\":{\"question\":\"moon\"}}\n\xff\xfe\n").await.expect("sent");
    let mut lines = BufReader::new(&mut stream).lines();
    for _ in 0..2 {
        let line = lines.next_line().await.expect("read").expect("a line");
        assert!(line.contains("not a request"), "{line}");
        assert_eq!(lines.next_line().await.expect("read").as_deref(), Some("\"end\""));
    }

    let mut endless = UnixStream::connect(&control.socket).await.expect("connected");
    let junk = vec![b'x'; REQUEST_OCTETS + 1];
    endless.write_all(&junk).await.expect("taken");
    let mut said = String::new();
    BufReader::new(&mut endless).read_line(&mut said).await.expect("an answer");
    assert!(said.contains("one line of at most"), "{said}");

    assert!(request(&control, Request::Status).await.is_ok());
    assert!(matches!(request(&control, Request::LogLevel { level: "loud".into() }).await, Err(ClientError::Failed(_))));
    task.abort();
}

fn stamped(notice: Notice) -> Arc<Stamped> {
    Arc::new(Stamped { at: UNIX_EPOCH + Duration::from_secs(100), notice })
}

#[tokio::test]
async fn a_monitor_hears_its_streams_and_how_much_it_missed() {
    let folder = Folder::new("monitor");
    let (api, control) = (MockApi::new(), folder.control());
    let task = start(&api, &control).await;
    let mut stream = UnixStream::connect(&control.socket).await.expect("connected");
    stream.write_all(b"{\"monitor\":{\"streams\":[\"daemon\"]}}\n").await.expect("sent");
    while api.notices.receiver_count() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // more than the channel holds, before the server gets to run
    for _ in 0..10 {
        api.notices.send(stamped(Notice::Stranger { address: [10, 0, 0, 9].into() })).expect("heard");
    }
    api.notices.send(stamped(Notice::Draining { on: true })).expect("heard");
    let mut lines = BufReader::new(&mut stream).lines();
    let missed: Reply = serde_json::from_str(&lines.next_line().await.expect("read").expect("a line")).expect("a reply");
    assert_eq!(missed, Reply::Missed(7));
    let event: Reply = serde_json::from_str(&lines.next_line().await.expect("read").expect("a line")).expect("a reply");
    let Reply::Event { stream: of, notice, time, .. } = event else { panic!("{event:?}") };
    assert_eq!((of.as_str(), notice["event"].as_str()), ("daemon", Some("draining")));
    assert_eq!(time, "1970-01-01T00:01:40.000000Z");
    task.abort();
}

#[tokio::test]
async fn clients_that_read_nothing_or_say_nothing_keep_nobody_from_being_answered() {
    let folder = Folder::new("stalled");
    let (api, control) = (MockApi::new(), folder.control());
    let task = start(&api, &control).await;
    let mut stalled = Vec::new();
    for n in 0..2 * CLIENTS.total {
        let mut stream = UnixStream::connect(&control.socket).await.expect("connected");
        if n % 2 == 0 {
            // More than a socket's buffer holds.
            let line = b"{\"query\":{\"question\":\"nexthops\",\"cursor\":0}}\n".repeat(100);
            stream.write_all(&line).await.expect("sent");
        }
        stalled.push(stream);
    }
    let answer = tokio::time::timeout(Duration::from_secs(20), request(&control, Request::Status));
    assert!(answer.await.expect("in time").is_ok());
    task.abort();
}

#[test]
fn a_time_to_confirm_is_between_nothing_and_a_day() {
    for wrong in [1e19, 1e300, f64::INFINITY, f64::NAN, -1.0, 0.0, 86_401.0] {
        assert!(confirm_time(wrong).expect_err("no time").contains("is not between"), "{wrong}");
    }
    assert_eq!(confirm_time(0.5), Ok(Duration::from_millis(500)));
    assert_eq!(confirm_time(86_400.0), Ok(MAX_CONFIRM));
}
