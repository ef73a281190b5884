//! The people of a case, and who of them is meant: by role, and of several children by which one, `child` the first and
//! `child-2` the second. What is said of one is never taken for another. Out of scope: what an office may say (`checks`).

use std::collections::BTreeMap;

use trust::{
    item::ROLES,
    refusal::{Code, Refusal},
};

use super::{Case, Consent, Person};

/// Whose authorisation may stand in the case itself.
const APPLICANT: &str = "applicant";

/// The role that several people of a case may have.
const CHILD: &str = "child";

/// What a child is known by: no two have the same.
const NUMBERS: [&str; 2] = ["resident_id", "passport"];

/// By what several children without a number are told apart.
const NAME: &str = "name";

/// The most people in a case.
pub(crate) const MOST_PEOPLE: usize = 16;

/// Whether what is missing is somebody's signature, as in `spouse.authorisation`.
pub(crate) fn is_consent(missing: &str) -> bool {
    missing.ends_with(".authorisation")
}

/// The role, and which one of it, in `spouse` or `child-2`.
pub(crate) fn which(whom: &str) -> Option<(&str, usize)> {
    if ROLES.contains(&whom) {
        return Some((whom, 1));
    }
    let place: usize = whom.strip_prefix("child-")?.parse().ok()?;
    (1..=MOST_PEOPLE).contains(&place).then_some((CHILD, place))
}

/// How a case calls whoever is called that: `child` is `child-1` too.
pub(crate) fn name_in_case(whom: &str) -> String {
    which(whom).map_or_else(|| whom.to_owned(), |(role, place)| called(role, place))
}

/// What the one at this place, counted from 1, of those of a role is called.
fn called(role: &str, place: usize) -> String {
    if place < 2 { role.to_owned() } else { format!("{role}-{place}") }
}

fn said<'a>(person: &'a Person, name: &str) -> Option<&'a str> {
    person.values.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
}

impl Case {
    /// Everybody, and what he is called in this case.
    pub(crate) fn everybody(&self) -> impl Iterator<Item = (String, &Person)> {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        self.people.iter().map(move |person| {
            let place = seen.entry(&person.role).or_default();
            *place += 1;
            (called(&person.role, *place), person)
        })
    }

    /// The one who is called that.
    pub(crate) fn person(&self, whom: &str) -> Option<&Person> {
        let (role, place) = which(whom)?;
        self.people.iter().filter(|person| person.role == role).nth(place.checked_sub(1)?)
    }

    /// What is known of the one who is called that.
    pub(crate) fn value(&self, whom: &str, name: &str) -> Option<&str> {
        let value = self.person(whom)?.values.get(name)?.as_str();
        (!value.trim().is_empty()).then_some(value)
    }

    /// What the one who is called that has signed himself: nobody else's consent stands in for it.
    pub(crate) fn consent(&self, whom: &str) -> Option<&Consent> {
        let own = self.person(whom).and_then(|person| person.authorisation.as_ref());
        own.or_else(|| self.authorisation.as_ref().filter(|_| whom == APPLICANT))
    }

    /// About whom a proof of the item is asked in this case: about each child, and about one where none was stated.
    pub(crate) fn each_of(&self, about: &str) -> Vec<String> {
        if about != CHILD {
            return vec![about.to_owned()];
        }
        let children = self.people.iter().filter(|person| person.role == CHILD).count();
        (1..=children.max(1)).map(|place| called(CHILD, place)).collect()
    }

    /// Takes in people and values; what was known of a person before and is said again is replaced.
    ///
    /// # Errors
    /// It cannot be told who is meant, or there would be too many.
    pub(crate) fn take_people(&mut self, people: Vec<Person>) -> Result<(), Refusal> {
        let refused = |index: usize, why: &str| {
            Refusal::new(Code::MessageMalformed).at(format!("people[{index}].role")).because(why)
        };
        for (index, person) in people.into_iter().enumerate() {
            match self.place_of(&person).map_err(|why| refused(index, why))? {
                Some(place) => {
                    let known = &mut self.people[place];
                    known.values.extend(person.values);
                    known.authorisation = person.authorisation.or(known.authorisation.take());
                }
                None if self.people.len() >= MOST_PEOPLE => return Err(refused(index, "at most 16 people in a case")),
                None => {
                    let role = which(&person.role).map_or(person.role.as_str(), |(role, _)| role).to_owned();
                    self.people.push(Person { role, ..person });
                }
            }
        }
        Ok(())
    }

    /// Who of those that are known is meant; `None` where nobody is yet. A child is known by its number, or is said to be the
    /// second; without either it is the only one there is, or the one of that name.
    fn place_of(&self, person: &Person) -> Result<Option<usize>, &'static str> {
        let Some((role, place)) = which(&person.role) else { return Err("nobody in a case is called that") };
        let of_role: Vec<usize> = (0..self.people.len()).filter(|index| self.people[*index].role == role).collect();
        if person.role != CHILD {
            return match of_role.get(place - 1) {
                Some(known) => Ok(Some(*known)),
                None if place == of_role.len() + 1 => Ok(None),
                None => Err("there are not so many children in the case"),
            };
        }
        let same = |index: &usize, name: &str| said(&self.people[*index], name) == said(person, name);
        let both_say =
            |index: &usize, name: &str| said(&self.people[*index], name).is_some() && said(person, name).is_some();
        let fitting: Vec<usize> = if NUMBERS.iter().any(|number| said(person, number).is_some()) {
            let numbers =
                |index: &usize| NUMBERS.into_iter().filter(|&number| both_say(index, number)).collect::<Vec<_>>();
            let is_it = |index: &&usize| {
                let numbers = numbers(index);
                !numbers.is_empty() && numbers.iter().all(|&number| same(index, number))
            };
            if let Some(known) = of_role.iter().find(is_it) {
                return Ok(Some(*known));
            }
            let may_be = |index: &usize| numbers(index).is_empty() && (!both_say(index, NAME) || same(index, NAME));
            of_role.into_iter().filter(may_be).collect()
        } else if of_role.len() < 2 {
            of_role
        } else {
            let is_named = |index: &usize| said(person, NAME).is_some() && same(index, NAME);
            let named: Vec<usize> = of_role.into_iter().filter(is_named).collect();
            if named.is_empty() {
                return Err(SAY_WHICH);
            }
            named
        };
        match fitting.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            _ => Err(SAY_WHICH),
        }
    }
}

const SAY_WHICH: &str = "there are several children: give the number, or say which one: child-1, child-2 …";

#[cfg(test)]
mod tests {
    use super::*;

    fn person(role: &str, values: &[(&str, &str)]) -> Person {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Person { role: role.to_owned(), values, ..Person::default() }
    }

    fn case(people: Vec<Person>) -> Case {
        Case { people, ..Case::default() }
    }

    #[test]
    fn what_is_said_of_one_child_is_never_taken_for_another() {
        let two = || case(vec![person("child", &[("resident_id", "1")]), person("child", &[("name", "安")])]);
        assert_eq!((two().value("child", "resident_id"), two().value("child", "name")), (Some("1"), None));
        assert_eq!((two().value("child-2", "resident_id"), two().value("child-2", "name")), (None, Some("安")));
        assert_eq!(two().value("child-3", "name"), None);
        assert_eq!(two().each_of("child"), ["child", "child-2"]);
        assert_eq!(two().each_of("spouse"), ["spouse"]);
        assert_eq!(case(Vec::new()).each_of("child"), ["child"], "it is told what is missing of it");
        let called: Vec<String> = two().everybody().map(|(called, _)| called).collect();
        assert_eq!(called, ["child", "child-2"]);
        // The one without a number gets it, by its name or because no other lacks one.
        for more in [person("child", &[("resident_id", "2"), ("name", "安")]), person("child", &[("resident_id", "2")])]
        {
            let mut case = two();
            case.take_people(vec![more]).unwrap();
            assert_eq!((case.people.len(), case.value("child-2", "resident_id")), (2, Some("2")));
        }
    }

    #[test]
    fn one_persons_consent_is_no_others() {
        let signed = |scope: &str| Some(Consent { scope: scope.to_owned(), ..Consent::default() });
        let spouse = Person { authorisation: signed("spouse"), ..person("spouse", &[]) };
        let people = vec![person("applicant", &[]), spouse, person("child", &[])];
        let mut case = Case { people, authorisation: signed("applicant"), ..Case::default() };
        let of = |case: &Case, whom: &str| case.consent(whom).map(|consent| consent.scope.clone());
        assert_eq!(of(&case, "applicant"), Some("applicant".to_owned()));
        assert_eq!(of(&case, "spouse"), Some("spouse".to_owned()));
        assert_eq!((of(&case, "child"), of(&case, "mother")), (None, None));
        // It is added with the person, and stays where nothing is said of it.
        case.take_people(vec![Person { authorisation: signed("child"), ..person("child", &[]) }]).unwrap();
        case.take_people(vec![person("spouse", &[("name", "安")])]).unwrap();
        assert_eq!((of(&case, "child"), of(&case, "spouse")), (Some("child".into()), Some("spouse".into())));
    }

    #[test]
    fn a_child_is_known_by_its_number_or_is_said_to_be_the_second() {
        let one = || case(vec![person("child", &[("resident_id", "1"), ("name", "宁")])]);
        let with = |more: Person| {
            let mut case = one();
            case.take_people(vec![more]).unwrap();
            case
        };
        // Another number is another child; the same one, or none, is this one.
        assert_eq!(with(person("child", &[("resident_id", "2"), ("name", "宁")])).people.len(), 2);
        assert_eq!(with(person("child", &[("resident_id", "1"), ("name", "安")])).value("child", "name"), Some("安"));
        assert_eq!(with(person("child", &[("name", "安")])).people.len(), 1);
        assert_eq!(with(person("child-1", &[("resident_id", "3")])).value("child", "resident_id"), Some("3"));
        let mut two = with(person("child-2", &[("name", "安")]));
        assert_eq!((two.people.len(), two.people[1].role.as_str()), (2, "child"));
        // So it is by a passport; what one has no number for yet may be said of it.
        let mut abroad = case(vec![person("child", &[("passport", "E1")])]);
        abroad.take_people(vec![person("child", &[("passport", "E2")])]).unwrap();
        assert_eq!((abroad.value("child", "passport"), abroad.value("child-2", "passport")), (Some("E1"), Some("E2")));
        abroad.take_people(vec![person("child", &[("passport", "E2"), ("resident_id", "2")])]).unwrap();
        assert_eq!((abroad.people.len(), abroad.value("child-2", "resident_id")), (2, Some("2")));
        abroad.take_people(vec![person("child", &[("passport", "E3"), ("resident_id", "2")])]).unwrap();
        assert_eq!(abroad.people.len(), 3, "neither of the two");
        assert_eq!(with(person("child", &[("passport", "E1")])).people.len(), 1);
        assert_eq!(["child-1", "child-2", "household"].map(name_in_case), ["child", "child-2", "household"]);
        // Of several somebody has to say which.
        for (unclear, role) in [("child", "name"), ("child", "school"), ("child-4", "name")] {
            let refused = two.take_people(vec![person(unclear, &[(role, "顾")])]).unwrap_err();
            assert_eq!(refused.field, "people[0].role", "{refused:?}");
        }
        assert_eq!(two.people.len(), 2);
        two.take_people(vec![person("child", &[("name", "安"), ("school", "一小")])]).unwrap();
        assert_eq!(two.value("child-2", "school"), Some("一小"));
    }
}
