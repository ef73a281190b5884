//! The commands within a shell script, as far as the documents need it: words with quotes, continued lines, pipes,
//! redirections, assignments, `$( … )`. Out of scope: running them.

/// The commands of a script that call one of the programs, each as its words from the program's name on.
pub(crate) fn commands_of(script: &str, programs: &[&str]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    read(script, &mut |words| {
        if let Some(words) = call(words, programs) {
            found.push(words);
        }
    });
    found
}

/// The words from the program's name on, where the command calls one of them: by its name or path, behind `sudo -u NAME`,
/// assignments and the like.
fn call(words: &[String], programs: &[&str]) -> Option<Vec<String>> {
    let mut words = words.iter();
    let mut word = words.next()?;
    while word.starts_with('-') || word.contains('=') || ["sudo", "env", "exec", "nohup"].contains(&word.as_str()) {
        if word == "-u" {
            words.next()?;
        }
        word = words.next()?;
    }
    let name = word.rsplit('/').next().filter(|name| programs.contains(name))?;
    Some(std::iter::once(name.to_owned()).chain(words.cloned()).collect())
}

/// How many commands a script has: simple commands, of which those joined by pipes count as one, without comments.
pub(crate) fn count(script: &str) -> usize {
    let joined = script.replace("\\\n", " ");
    joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).count()
}

/// The lines of a script without comments and blank lines, to compare two languages of one guide.
pub(crate) fn bare(script: &str) -> Vec<String> {
    let without = |line: &str| line.split(" #").next().unwrap_or(line).trim().to_owned();
    script
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .map(without)
        .filter(|line| !line.is_empty())
        .collect()
}

/// Calls `found` with the words of each simple command, those within `$( … )` first.
fn read(script: &str, found: &mut dyn FnMut(&[String])) {
    let mut characters = script.chars().peekable();
    let (mut words, mut word, mut in_word) = (Vec::<String>::new(), String::new(), false);
    let mut quote: Option<char> = None;
    let end_word = |words: &mut Vec<String>, word: &mut String, in_word: &mut bool| {
        if std::mem::take(in_word) {
            words.push(std::mem::take(word));
        }
    };
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (Some('\''), _) => word.push(character),
            (_, '\\') => match characters.next() {
                Some('\n') | None => {}
                Some(escaped) => {
                    word.push(escaped);
                    in_word = true;
                }
            },
            (_, '$') if characters.peek() == Some(&'(') => {
                characters.next();
                let inner = until_closed(&mut characters);
                read(&inner, found);
                word.push_str("$()");
                in_word = true;
            }
            (Some(_), _) => word.push(character),
            (None, '\'' | '"') => {
                quote = Some(character);
                in_word = true;
            }
            (None, '#') if !in_word => while characters.next_if(|next| *next != '\n').is_some() {},
            (None, '\n' | ';' | '|' | '&' | '(' | ')') => {
                end_word(&mut words, &mut word, &mut in_word);
                if !words.is_empty() {
                    found(&words);
                    words.clear();
                }
            }
            (None, '<' | '>') => {
                // What follows is a file, and no word of the command; a number before it is a descriptor.
                if !word.chars().all(|digit| digit.is_ascii_digit()) {
                    end_word(&mut words, &mut word, &mut in_word);
                }
                (word, in_word) = (String::new(), false);
                while characters.next_if(|next| matches!(next, '<' | '>' | '&' | ' ')).is_some() {}
                while characters
                    .next_if(|next| !next.is_whitespace() && !matches!(next, ';' | '|' | '&' | ')'))
                    .is_some()
                {}
            }
            (None, space) if space.is_whitespace() => end_word(&mut words, &mut word, &mut in_word),
            (None, _) => {
                word.push(character);
                in_word = true;
            }
        }
    }
    end_word(&mut words, &mut word, &mut in_word);
    if !words.is_empty() {
        found(&words);
    }
}

fn until_closed(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let (mut inner, mut depth) = (String::new(), 1);
    for character in characters.by_ref() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        inner.push(character);
    }
    inner
}

#[test]
fn commands_are_found_in_a_script() {
    let script = "# registry init\nexport A=1\nID=$(exchange-node access list --json | jq -r '.a[0].id')  # the id\n\
        echo 1 | sudo -u exchange /usr/local/bin/exchange-node verify \"a b\" \\\n  --item 公租房申请 2> errors > answer.json &\n\
        registry --dir 'a b' status; jq . answer.json\n";
    let found = commands_of(script, &["registry", "exchange-node"]);
    let words = |text: &[&str]| text.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        found,
        [
            words(&["exchange-node", "access", "list", "--json"]),
            words(&["exchange-node", "verify", "a b", "--item", "公租房申请"]),
            words(&["registry", "--dir", "a b", "status"]),
        ]
    );
    assert_eq!(count(script), 4);
    assert_eq!(bare("a # b\n# c\n\n  d"), ["a", "d"]);
}
