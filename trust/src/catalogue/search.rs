//! Looking for words in Chinese or English: compared after NFKC (full-width letters and digits are the plain ones),
//! without case and without regard to spaces within, so that 婚姻 登记 finds 婚姻登记 and "Marriage" finds "marriage".

use unicode_normalization::UnicodeNormalization;

/// The words somebody looks for. Each must be somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(Vec<String>);

impl Words {
    /// Reads them from a text, in which spaces part them.
    pub fn read(text: &str) -> Self {
        Self(text.split_whitespace().map(folded).filter(|word| !word.is_empty()).collect())
    }

    /// Whether each word is in at least one of the texts. No words are in everything.
    pub fn are_in<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let texts: Vec<String> = texts.into_iter().map(folded).collect();
        self.0.iter().all(|word| texts.iter().any(|text| text.contains(word)))
    }
}

/// A text as it is compared.
fn folded(text: &str) -> String {
    // Case after NFKC, and NFKC again: lower case may decompose (İ).
    let lower: String = text.nfkc().flat_map(char::to_lowercase).collect();
    lower.nfkc().filter(|character| !character.is_whitespace()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_chinese_and_english() {
        let texts = ["婚姻登记信息核验", "Marriage registration", "civil-affairs"];
        for found in
            ["婚姻", "登记 婚姻", "MARRIAGE", "ｍａｒｒｉａｇｅ", "marriage 核验", "Civil-Affairs", "", "  ", "息核验"]
        {
            assert!(Words::read(found).are_in(texts), "{found}");
        }
        for missing in ["离婚", "marriage horse", "婚姻核验"] {
            assert!(!Words::read(missing).are_in(texts), "{missing}");
        }
        // Spaces within a text part nothing.
        assert!(Words::read("Marriageregistration").are_in(texts));
        assert!(Words::read("ＩＤ１").are_in(["the id 1"]));
    }
}
