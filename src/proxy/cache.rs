//! How heads are shown to the rules of the cache.

use super::fields::Fields;
use crate::cache::rules::Source;

impl Source for Fields<'_> {
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.iter().map(|field| (field.name, field.value))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::FieldIndex;
    use super::*;
    use crate::cache::rules::{Refusal, Request, Response};

    #[test]
    fn heads_are_read_by_the_rules_of_the_cache() {
        let text = b"Cache-Control: max-age=5\r\nUpgrade:  x \r\nAge: 3\r\n\r\n";
        let mut headers = [httparse::EMPTY_HEADER; 4];
        let Ok(httparse::Status::Complete((_, parsed))) =
            httparse::parse_headers(text, &mut headers)
        else {
            panic!("incomplete");
        };
        let mut index = FieldIndex::default();
        index.extend(text, parsed);
        let fields = Fields::new(text, &index);
        let request = Request::read(b"GET", &fields);
        assert_eq!(request.refusal(), Some(Refusal::Upgrade));
        assert_eq!(request.wishes.max_age, Some(5));
        let response = Response::read(200, &fields);
        assert_eq!((response.age, response.directives.max_age), (3, Some(5)));
        assert_eq!(fields.first(b"upgrade"), Some(b"x".as_slice()));
    }
}
