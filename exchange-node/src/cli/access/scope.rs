//! What is applied for: the attributes and operators of the command line, held against what the service offers. Out of scope:
//! whether it is granted.

use std::collections::BTreeMap;

use proto::registry::v1::{Attribute, AttributeScope};
use trust::claim::Operator;

/// The operators of the command line: `NAMES` of every attribute, `ATTRIBUTE=NAMES` of one alone.
struct Operators {
    everywhere: Vec<String>,
    of_one: BTreeMap<String, Vec<String>>,
}

impl Operators {
    fn read(given: &[String]) -> Result<Self, String> {
        let mut operators = Self { everywhere: Vec::new(), of_one: BTreeMap::new() };
        for group in given {
            let mut names = &mut operators.everywhere;
            for part in group.split(',') {
                let name = match part.split_once('=') {
                    None => part,
                    Some((attribute, name)) => {
                        names = operators.of_one.entry(attribute.to_owned()).or_default();
                        name
                    }
                };
                Operator::parse(name).map_err(|_| format!("there is no operator {name:?}"))?;
                names.push(name.to_owned());
            }
        }
        Ok(operators)
    }

    /// An attribute that is named beside its operators and is not among those that are meant.
    fn stray(&self, is_meant: impl Fn(&str) -> bool) -> Result<(), String> {
        match self.of_one.keys().find(|name| !is_meant(name)) {
            Some(name) => Err(format!("--operators names {name}, which is not among the attributes")),
            None => Ok(()),
        }
    }
}

/// Each attribute with those of the operators that it allows. Every attribute gets at least one, and
/// every operator is of use somewhere; otherwise something was mistyped. `disclose` names the attributes whose values are
/// applied for; an empty list means all that the service discloses.
pub(super) fn asked(
    offered: &[Attribute],
    attributes: &[String],
    operators: &[String],
    disclose: Option<&[String]>,
) -> Result<Vec<AttributeScope>, String> {
    let operators = Operators::read(operators)?;
    operators.stray(|name| attributes.iter().any(|asked| asked == name))?;
    if let Some(unknown) = disclose.unwrap_or_default().iter().find(|name| !attributes.contains(name)) {
        return Err(format!("--disclose names {unknown}, which is not among --attributes"));
    }
    let mut scope = Vec::new();
    for name in attributes {
        let attribute = offered.iter().find(|attribute| attribute.name == *name).ok_or_else(|| {
            let names: Vec<&str> = offered.iter().map(|attribute| attribute.name.as_str()).collect();
            format!("the service has no attribute {name:?}; it has {}", names.join(", "))
        })?;
        let allowed = attribute.operators.join(", ");
        let chosen = match operators.of_one.get(name) {
            Some(named) => {
                if let Some(wrong) = named.iter().find(|operator| !attribute.operators.contains(operator)) {
                    return Err(format!("{name} does not allow the operator {wrong}; it allows {allowed}"));
                }
                named.clone()
            }
            None => {
                let everywhere = operators.everywhere.iter();
                everywhere.filter(|operator| attribute.operators.contains(operator)).cloned().collect()
            }
        };
        if chosen.is_empty() {
            return Err(format!("{name} allows none of these operators; it allows {allowed}"));
        }
        let disclose = match disclose {
            None => false,
            Some([]) => attribute.discloses,
            Some(names) => names.contains(name),
        };
        if disclose && !attribute.discloses {
            return Err(format!("the service does not disclose the value of {name}: leave it out of --disclose"));
        }
        scope.push(AttributeScope { attribute: name.clone(), operators: chosen, disclose });
    }
    if disclose.is_some() && !scope.iter().any(|asked| asked.disclose) {
        return Err(
            "the service does not disclose the value of any of these attributes: leave --disclose out".to_owned()
        );
    }
    let is_of_use = |operator: &String| {
        scope.iter().any(|asked| !operators.of_one.contains_key(&asked.attribute) && asked.operators.contains(operator))
    };
    if let Some(useless) = operators.everywhere.iter().find(|operator| !is_of_use(operator)) {
        return Err(format!("none of these attributes allows the operator {useless}"));
    }
    Ok(scope)
}

/// What is left of an application's scope: the attributes and operators named, or all of them. `verdicts_only` names the
/// attributes that are approved without their values; an empty list means all. What was not applied for cannot be approved.
pub(super) fn narrowed(
    applied: Vec<AttributeScope>,
    attributes: &[String],
    operators: &[String],
    verdicts_only: Option<&[String]>,
) -> Result<Vec<AttributeScope>, String> {
    let operators = Operators::read(operators)?;
    let verdicts_of = verdicts_only.unwrap_or_default();
    let is_applied_for = |name: &str| applied.iter().any(|asked| asked.attribute == name);
    if let Some(unknown) = attributes.iter().chain(verdicts_of).find(|name| !is_applied_for(name)) {
        return Err(format!("{unknown} is not applied for"));
    }
    let is_left = |name: &str| attributes.is_empty() || attributes.iter().any(|left| left == name);
    operators.stray(|name| is_applied_for(name) && is_left(name))?;
    let unknown = operators.everywhere.iter().find(|name| !applied.iter().any(|asked| asked.operators.contains(name)));
    if let Some(unknown) = unknown {
        return Err(format!("the operator {unknown} is not applied for"));
    }
    let mut scope = Vec::new();
    for mut asked in applied {
        if !is_left(&asked.attribute) {
            continue;
        }
        if let Some(named) = operators.of_one.get(&asked.attribute) {
            if let Some(unknown) = named.iter().find(|operator| !asked.operators.contains(operator)) {
                return Err(format!("the operator {unknown} is not applied for, for {}", asked.attribute));
            }
            asked.operators.clone_from(named);
        } else if !operators.everywhere.is_empty() {
            asked.operators.retain(|operator| operators.everywhere.contains(operator));
        }
        let is_verdict_only = verdicts_only.is_some_and(|names| names.is_empty() || names.contains(&asked.attribute));
        asked.disclose &= !is_verdict_only;
        if asked.operators.is_empty() {
            return Err(format!("no operator is left for {}: name --attributes too", asked.attribute));
        }
        scope.push(asked);
    }
    Ok(scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// Of the fixture's service, which discloses the day and not the status.
    fn asked(
        attributes: &[&str],
        operators: &[&str],
        disclose: Option<&[&str]>,
    ) -> Result<Vec<AttributeScope>, String> {
        let offered = trust::fixture::marriage_registration().attributes;
        super::asked(&offered, &words(attributes), &words(operators), disclose.map(words).as_deref())
    }

    #[test]
    fn each_attribute_gets_the_operators_that_it_allows() {
        let scope = asked(&["marital_status", "registered_on"], &["equals,before"], None).unwrap();
        assert_eq!(scope[0].operators, ["equals"]);
        assert_eq!(scope[1].operators, ["equals", "before"]);
    }

    #[test]
    fn operators_and_values_are_applied_for_by_attribute() {
        let both = ["marital_status", "registered_on"];
        let scope = asked(&both, &["marital_status=equals,one_of", "registered_on=before"], None).unwrap();
        assert_eq!((&scope[0].operators, &scope[1].operators), (&words(&["equals", "one_of"]), &words(&["before"])));
        // In one group too, and beside those of all the others.
        let mixed = asked(&both, &["equals,registered_on=before"], None).unwrap();
        assert_eq!((&mixed[0].operators, &mixed[1].operators), (&words(&["equals"]), &words(&["before"])));
        let disclosed = |disclose: &[&str]| {
            asked(&both, &["equals"], Some(disclose)).map(|scope| [scope[0].disclose, scope[1].disclose])
        };
        // Without names: what the service discloses, and no refusal for the others' sake.
        assert_eq!(disclosed(&[]), Ok([false, true]));
        assert_eq!(disclosed(&["registered_on"]), Ok([false, true]));
        assert!(disclosed(&["marital_status"]).unwrap_err().contains("does not disclose the value of marital_status"));
        assert!(disclosed(&["income"]).unwrap_err().contains("not among --attributes"));
    }

    #[test]
    fn an_approval_narrows_and_never_widens() {
        let asked = |attribute: &str, operators: &[&str]| AttributeScope {
            attribute: attribute.to_owned(),
            operators: words(operators),
            disclose: true,
        };
        let applied = || vec![asked("marital_status", &["equals", "one_of"]), asked("registered_on", &["before"])];
        let narrowed = |attributes: &[&str], operators: &[&str], verdicts_only: Option<&[&str]>| {
            let verdicts_only = verdicts_only.map(words);
            super::narrowed(applied(), &words(attributes), &words(operators), verdicts_only.as_deref())
        };
        assert_eq!(narrowed(&[], &[], None).unwrap(), applied());
        // By attribute: the others stay as they were applied for.
        let by_one = narrowed(&[], &["marital_status=one_of"], Some(&["marital_status"])).unwrap();
        assert_eq!((by_one[0].operators.as_slice(), by_one[0].disclose), (&words(&["one_of"])[..], false));
        assert_eq!(by_one[1], applied()[1]);
        let one = narrowed(&["marital_status"], &["equals"], Some(&[])).unwrap();
        assert_eq!((one.len(), one[0].operators.as_slice(), one[0].disclose), (1, &words(&["equals"])[..], false));
        for (attributes, operators, reason) in [
            (&["income"][..], &[][..], "income is not applied for"),
            (&[], &["after"], "the operator after is not applied for"),
            (&[], &["before"], "no operator is left for marital_status"),
            (&[], &["registered_on=equals"], "the operator equals is not applied for, for registered_on"),
            (&["marital_status"], &["registered_on=before"], "not among the attributes"),
        ] {
            let error = narrowed(attributes, operators, None).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn what_was_mistyped_is_found_before_anything_is_signed() {
        for (attributes, operators, disclose, reason) in [
            (
                &["status"][..],
                &["equals"][..],
                None,
                "has no attribute \"status\"; it has marital_status, registered_on",
            ),
            (&["marital_status"], &["is"], None, "there is no operator \"is\""),
            (&["marital_status"], &["before"], None, "allows none of these operators; it allows equals, one_of"),
            (
                &["marital_status"],
                &["marital_status=before"],
                None,
                "marital_status does not allow the operator before",
            ),
            (&["marital_status"], &["registered_on=before"], None, "--operators names registered_on"),
            (&["marital_status"], &["equals,before"], None, "none of these attributes allows the operator before"),
            (&["marital_status"], &["equals"], Some(&[][..]), "does not disclose"),
        ] {
            let error = asked(attributes, operators, disclose).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
