//! `thinkery up` and `thinkery admin` through the real binary and a real socket.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::env::{Running, TestEnv};

const PASSWORD: &str = "correct horse battery";

/// Starts `up` on a free port; gives its address without `http://`.
fn up(env: &TestEnv) -> (Running, String) {
    let mut running = env.start(&["up", "--listen", "127.0.0.1:0", "--json"]);
    let address = running.address().strip_prefix("http://").unwrap().to_owned();
    (running, address)
}

/// One request over a fresh connection; gives status and body.
fn ask(address: &str, method: &str, path: &str, headers: &[&str], body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for header in headers {
        request += &format!("{header}\r\n");
    }
    stream.write_all(format!("{request}\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn login(address: &str, password: &str) -> u16 {
    let body = json!({ "password": password }).to_string();
    ask(address, "POST", "/api/v1/login", &["Content-Type: application/json"], &body).0
}

fn setup(address: &str, url: &str) -> u16 {
    let (_, token) = url.trim().split_once("/setup#token=").unwrap();
    let body = json!({ "token": token, "password": PASSWORD }).to_string();
    ask(address, "POST", "/api/v1/setup", &["Content-Type: application/json"], &body).0
}

#[test]
fn the_first_day_begins_with_the_setup_link() {
    let env = TestEnv::new();
    let (_running, address) = up(&env);
    assert_eq!(ask(&address, "GET", "/healthz", &[], "").0, 200);
    assert_eq!(ask(&address, "GET", "/readyz", &[], "").0, 200);
    let file = env.data().join("setup-url");
    let first = std::fs::read_to_string(&file).unwrap();
    assert!(first.starts_with(&format!("http://{address}/setup#token=")), "{first}");
    let second = env.run(&["admin", "setup-url", "--json"]).json();
    let second = second["setup_url"].as_str().unwrap();
    assert!(second.starts_with(&format!("http://{address}/setup#token=")), "{second}");
    assert_eq!(setup(&address, &first), 401, "the newer link voids the older");
    assert_eq!(setup(&address, second), 200);
    assert_eq!(setup(&address, second), 401);
    assert_eq!(login(&address, PASSWORD), 200);
    assert!(!file.exists());
    let error = env.run(&["admin", "setup-url"]).error();
    assert!(error.starts_with("error: a password was chosen already\nhint: "), "{error}");
}

#[test]
fn keys_and_passwords_can_be_made_on_the_command_line() {
    let env = TestEnv::new();
    std::fs::create_dir_all(env.data()).unwrap();
    let reset = env.run_with(&["admin", "reset-password"], "short\n");
    assert!(reset.error().contains("at least 8 characters"));
    let reset = env.run_with(&["admin", "reset-password"], &format!("{PASSWORD}\n"));
    assert_eq!(reset.code, Some(0));
    assert!(reset.stderr.contains(env.data().to_str().unwrap()), "says which folder");
    let made = env.run(&["admin", "token", "script", "--json"]).json();
    let key = made["key"].as_str().unwrap();

    let (_running, address) = up(&env);
    assert_eq!(login(&address, PASSWORD), 200);
    let (status, body) = ask(&address, "GET", "/v1/models", &[], "");
    assert_eq!(status, 401);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["error"]["type"], "invalid_request_error");
    let bearer = format!("Authorization: Bearer {key}");
    let (status, body) = ask(&address, "GET", "/v1/models", &[&bearer], "");
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, json!({ "object": "list", "data": [] }));
}

#[test]
fn a_password_file_sets_the_panel_up_without_hands() {
    let env = TestEnv::new();
    let file = env.file("password", &format!("{PASSWORD}\n"));
    let mut command = env.command(&["up", "--listen", "127.0.0.1:0", "--json"]);
    command.env("THINKERY_ADMIN_PASSWORD_FILE", file).stdout(std::process::Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let address = running.address();
    let address = address.strip_prefix("http://").unwrap();
    assert_eq!(login(address, "something else"), 401);
    assert_eq!(login(address, PASSWORD), 200);
    assert!(!env.data().join("setup-url").exists());
}

#[test]
fn it_ends_soon_after_being_asked_to_even_with_streams_open() {
    let env = TestEnv::new();
    for signal in [Signal::TERM, Signal::INT] {
        let (mut running, address) = up(&env);
        let mut idle = TcpStream::connect(&address).unwrap();
        idle.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
        let since = Instant::now();
        kill_process(Pid::from_raw(running.pid()).unwrap(), signal).unwrap();
        let status = running.0.wait().unwrap();
        assert!(status.success(), "{status}");
        assert!(since.elapsed() < Duration::from_secs(4), "took {:?}", since.elapsed());
    }
}

#[test]
fn a_taken_port_and_a_taken_folder_are_said_in_one_line() {
    let env = TestEnv::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = env.run(&["up", "--listen", &address.to_string()]).error();
    let expected = format!("error: port {} is taken\nhint: ", address.port());
    assert!(error.starts_with(&expected), "{error}");

    let (running, _) = up(&env);
    let error = env.run(&["up", "--listen", "127.0.0.1:0"]).error();
    assert!(error.contains(&format!("is in use by process {}", running.pid())), "{error}");
    assert!(error.contains("\nhint: "), "{error}");
}

#[test]
fn an_open_address_is_warned_of() {
    let env = TestEnv::new();
    let mut running = env.start(&["up", "--listen", "0.0.0.0:0", "--json"]);
    let address = running.address();
    assert!(address.starts_with("http://127.0.0.1:"), "{address}");
    let said = std::fs::read_to_string(env.path().join("stderr.txt")).unwrap();
    let port = address.rsplit(':').next().unwrap();
    assert!(said.contains("warning: "), "{said}");
    assert!(said.contains(&format!("ssh -L {port}:127.0.0.1:{port} ")), "{said}");
}
