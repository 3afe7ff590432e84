//! A judge that says what its script wants, and keeps what it was asked: real HTTP, byte by byte.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// What the judge says to a request.
pub(crate) enum Say {
    /// This text, as a model's complete answer.
    Text(String),
    /// A vote in the default form.
    Vote(&'static str),
    /// This status, with these header lines and this body.
    Status(u16, &'static str, &'static str),
    /// A reply that ends in the middle of its body.
    Cut,
    /// Server-sent events that end before they are complete.
    CutStream,
    /// Nothing, until the asker has gone.
    Silence,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The header lines.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: Value,
}

impl Asked {
    /// The content of the message at `index`.
    pub(crate) fn message(&self, index: usize) -> &str {
        self.body["messages"][index]["content"].as_str().unwrap()
    }

    /// The last message: what is to be judged.
    pub(crate) fn user(&self) -> &str {
        let count = self.body["messages"].as_array().unwrap().len();
        self.message(count - 1)
    }
}

/// The judge. Its thread ends with the test's process.
pub(crate) struct FakeJudge {
    /// Where it listens.
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeJudge {
    /// A judge that answers request number `n`, from 0, as `script` says.
    pub(crate) fn start(script: impl Fn(usize, &Asked) -> Say + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, script) = (Arc::clone(&asked), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (kept, script) = (Arc::clone(&kept), Arc::clone(&script));
                std::thread::spawn(move || answer(stream.unwrap(), &kept, &*script));
            }
        });
        Self { url, asked }
    }

    /// A judge that always votes so.
    pub(crate) fn voting(verdict: &'static str) -> Self {
        Self::start(move |_, _| Say::Vote(verdict))
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How many requests came so far.
    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn answer(mut stream: TcpStream, kept: &Mutex<Vec<Asked>>, script: &dyn Fn(usize, &Asked) -> Say) {
    let Some(asked) = read(&mut stream) else { return };
    let number = {
        let mut kept = kept.lock().unwrap();
        kept.push(asked.clone());
        kept.len() - 1
    };
    let text = |text: &str| {
        json!({
            "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 20},
        })
        .to_string()
    };
    let bytes = match script(number, &asked) {
        Say::Text(said) => whole(200, "", &text(&said)),
        Say::Vote(verdict) => {
            let vote = json!({"reasoning": "I looked at both.", "verdict": verdict});
            whole(200, "", &text(&vote.to_string()))
        }
        Say::Status(status, head, body) => whole(status, head, body),
        Say::Cut => {
            let reply = whole(200, "", &text("{\"reasoning\": \"…\"}"));
            reply[..reply.len() - 30].to_vec()
        }
        Say::CutStream => b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: \
              close\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"{\\\"reaso\"}}]}\n\n"
            .to_vec(),
        Say::Silence => {
            // Ends when the other side hangs up.
            _ = stream.read(&mut [0]);
            return;
        }
    };
    // Whoever has hung up meanwhile wants no answer.
    _ = stream.write_all(&bytes);
}

fn whole(status: u16, head: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n{head}\r\n{body}"
    )
    .into_bytes()
}

fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16_384];
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap_or("0");
            let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
            if bytes.len() >= end + 4 + length {
                let body = serde_json::from_slice(&bytes[end + 4..end + 4 + length]).unwrap();
                return Some(Asked { head, body });
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}
