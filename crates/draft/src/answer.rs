//! The story in an answer: chat models like to put words around it.

/// The outermost braces and what is between them; everything where there are none.
pub(crate) fn json(answer: &str) -> &str {
    match (answer.find('{'), answer.rfind('}')) {
        (Some(start), Some(end)) if start < end => &answer[start..=end],
        _ => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_around_a_story_are_left_out() {
        assert_eq!(json("{\"a\": {}}"), "{\"a\": {}}");
        assert_eq!(json("Sure!\n```json\n{\"a\": {}}\n```\nEnjoy."), "{\"a\": {}}");
        for other in ["", "no story", "} {", "{"] {
            assert_eq!(json(other), other);
        }
    }
}
