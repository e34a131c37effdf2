//! What response heads say. Many are the same, so each is kept once.

use super::facts::{ResponseFacts, ResponseTexts};
use super::head::{cut, hash};
use crate::http::{Recurring, Response, ResponseHead};
use hashbrown::HashMap;
use std::sync::Arc;

/// Different ones that are remembered; a target gives one or two. All are forgotten and learned
/// anew beyond.
const REMEMBERED: usize = 1024;

/// Remembers what response heads said.
#[derive(Debug, Default)]
pub(super) struct Texts {
    known: HashMap<u64, Arc<ResponseTexts>>,
    /// What whole heads said, and their `grpc-status`.
    heads: Recurring<(Arc<ResponseTexts>, Option<u32>)>,
}

/// Header values of interest, in the order of [`ResponseTexts`].
type Values<'a> = [Option<&'a [u8]>; 4];

impl Texts {
    /// Facts of a response.
    pub(super) fn facts(&mut self, response: &Response) -> ResponseFacts {
        let head = response.head.as_slice();
        let (texts, grpc_status) = match self.heads.find(head) {
            Some((_, says)) => says,
            None => {
                let says = self.read(head);
                self.heads.remember(head, head.len(), says.clone());
                says
            }
        };
        ResponseFacts {
            status: response.status,
            body: response.body,
            head_len: response.head_len,
            sent: response.end - response.start,
            framing: response.framing,
            head_complete: response.head_complete,
            complete: response.complete,
            closes: response.closes,
            fault: response.fault.clone(),
            texts,
            grpc_status,
        }
    }

    /// What a head says, and its `grpc-status`.
    fn read(&mut self, head: &[u8]) -> (Arc<ResponseTexts>, Option<u32>) {
        let mut values: Values<'_> = [None; 4];
        let mut grpc_status = None;
        for (name, value) in ResponseHead::parse(head).headers().raw() {
            let place = match name.len() {
                6 if name.eq_ignore_ascii_case(b"server") => 0,
                8 if name.eq_ignore_ascii_case(b"location") => 1,
                12 if name.eq_ignore_ascii_case(b"content-type") => 2,
                38 if name.eq_ignore_ascii_case(b"x-envoy-upstream-healthchecked-cluster") => 3,
                11 if name.eq_ignore_ascii_case(b"grpc-status") => {
                    grpc_status =
                        std::str::from_utf8(value).ok().and_then(|code| code.parse().ok());
                    continue;
                }
                _ => continue,
            };
            values[place] = Some(value);
        }
        (self.of(values), grpc_status)
    }

    fn of(&mut self, values: Values<'_>) -> Arc<ResponseTexts> {
        let key = hash(values);
        if let Some(known) = self.known.get(&key)
            && says(known, values)
        {
            return Arc::clone(known);
        }
        let [server, location, content_type, healthchecked_cluster] =
            values.map(|value| Some(cut(&String::from_utf8_lossy(value?))));
        let texts =
            Arc::new(ResponseTexts { server, location, content_type, healthchecked_cluster });
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(key, Arc::clone(&texts));
        texts
    }
}

/// Whether these are the bytes that were remembered, and not others with the same hash.
fn says(known: &ResponseTexts, values: Values<'_>) -> bool {
    let ResponseTexts { server, location, content_type, healthchecked_cluster } = known;
    let known = [server, location, content_type, healthchecked_cluster];
    known.into_iter().zip(values).all(|(text, value)| text.as_deref().map(str::as_bytes) == value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(head: &str) -> Response {
        Response { head: head.replace('\n', "\r\n").into(), ..Response::default() }
    }

    #[test]
    fn heads_that_say_the_same_share_what_they_say() {
        let mut texts = Texts::default();
        let mut of = |head: &str| texts.facts(&response(head));
        let first = of("HTTP/1.1 200 OK\nServer: nginx\nDate: 1\nContent-Type: text/html\n\n");
        let second = of("HTTP/1.1 204 x\nDate: 2\ncontent-type: text/html\nserver:nginx\n\n");
        assert!(Arc::ptr_eq(&first.texts, &second.texts));
        assert_eq!(first.texts.server.as_deref(), Some("nginx"));
        let other = of("HTTP/1.1 302 x\nLocation: /\nServer: nginx\ngrpc-status: 12\n\n");
        assert!(!Arc::ptr_eq(&first.texts, &other.texts));
        assert_eq!((other.texts.location.as_deref(), other.grpc_status), (Some("/"), Some(12)));
        assert_eq!((other.texts.content_type.as_deref(), first.grpc_status), (None, None));
    }

    #[test]
    fn what_is_cut_or_no_text_is_made_anew_each_time() {
        let mut texts = Texts::default();
        let long = format!("HTTP/1.1 302 x\nLocation: /{}\n\n", "x".repeat(2000));
        for _ in 0..2 {
            let facts = texts.facts(&response(&long));
            let kept = facts.texts.location.as_ref().map(|text| text.len());
            assert_eq!(kept, Some(super::super::facts::VALUE_KEPT));
        }
        for number in 0..REMEMBERED + 5 {
            texts.facts(&response(&format!("HTTP/1.1 302 x\nLocation: /{number}\n\n")));
            assert!(texts.known.len() <= REMEMBERED);
        }
    }
}
