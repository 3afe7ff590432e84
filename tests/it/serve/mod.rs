//! What breaks servers of language models, tried on ours: the real binary over a parrot.
//!
//! Each test is a failure that was seen in some server, by its number:
//!
//! | files | failures |
//! |---|---|
//! | `capacity` | 1 too large for the cache, 2 deadlock of the cache, 3 abort during a prefill, 4 lost replies, 5 preemption against the queue, 6 work before refusal, 7 memory of the queue, 8 clients that go away, 9 slow readers |
//! | `wire` | 10 characters in pieces, 11 stop texts over tokens, 12 bad bodies, 13 huge and slow bodies, 14 long prompts, 15 extreme limits, 16 templates that raise, 22 odd HTTP, 23 keys |
//! | `engine` | 17 logits that are no numbers, 18 a dead device, 19 a stuck engine, 20 shutdown, 21 silence before the first token, 24 mixed-up beginnings, 25 mixed-up state, 26 leaks |
//!
//! `answers` holds the server to OpenAI's and vLLM's shapes; `same` asks again and again.

mod answers;
mod capacity;
mod client;
mod engine;
mod same;
mod wire;
