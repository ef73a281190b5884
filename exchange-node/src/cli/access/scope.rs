//! What is applied for: the attributes and operators of the command line, held against what the service offers. Out of scope:
//! whether it is granted.

use proto::registry::v1::{Attribute, AttributeScope};
use trust::claim::Operator;

/// Each attribute with those of the operators that it allows. Every attribute gets at least one, and
/// every operator is of use somewhere; otherwise something was mistyped.
pub(super) fn asked(
    offered: &[Attribute],
    attributes: &[String],
    operators: &[String],
    disclose: bool,
) -> Result<Vec<AttributeScope>, String> {
    for operator in operators {
        Operator::parse(operator).map_err(|_| format!("there is no operator {operator:?}"))?;
    }
    let mut scope = Vec::new();
    for name in attributes {
        let attribute = offered.iter().find(|attribute| attribute.name == *name).ok_or_else(|| {
            let names: Vec<&str> = offered.iter().map(|attribute| attribute.name.as_str()).collect();
            format!("the service has no attribute {name:?}; it has {}", names.join(", "))
        })?;
        let allowed: Vec<String> =
            operators.iter().filter(|operator| attribute.operators.contains(operator)).cloned().collect();
        if allowed.is_empty() {
            return Err(format!("{name} allows none of these operators; it allows {}", attribute.operators.join(", ")));
        }
        if disclose && !attribute.discloses {
            return Err(format!("the service does not disclose the value of {name}: leave --disclose out"));
        }
        scope.push(AttributeScope { attribute: name.clone(), operators: allowed, disclose });
    }
    if let Some(useless) =
        operators.iter().find(|operator| !scope.iter().any(|asked| asked.operators.contains(operator)))
    {
        return Err(format!("none of these attributes allows the operator {useless}"));
    }
    Ok(scope)
}

/// What is left of an application's scope: the attributes and operators named, or all of them; without values where
/// `verdicts_only`. What was not applied for cannot be approved.
pub(super) fn narrowed(
    applied: Vec<AttributeScope>,
    attributes: &[String],
    operators: &[String],
    verdicts_only: bool,
) -> Result<Vec<AttributeScope>, String> {
    if let Some(unknown) = attributes.iter().find(|name| !applied.iter().any(|asked| asked.attribute == **name)) {
        return Err(format!("{unknown} is not applied for"));
    }
    if let Some(unknown) = operators.iter().find(|name| !applied.iter().any(|asked| asked.operators.contains(name))) {
        return Err(format!("the operator {unknown} is not applied for"));
    }
    let mut scope = Vec::new();
    for mut asked in applied.into_iter().filter(|asked| attributes.is_empty() || attributes.contains(&asked.attribute))
    {
        asked.operators.retain(|operator| operators.is_empty() || operators.contains(operator));
        asked.disclose &= !verdicts_only;
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

    fn asked(attributes: &[&str], operators: &[&str], disclose: bool) -> Result<Vec<AttributeScope>, String> {
        super::asked(
            &trust::fixture::marriage_registration().attributes,
            &words(attributes),
            &words(operators),
            disclose,
        )
    }

    #[test]
    fn each_attribute_gets_the_operators_that_it_allows() {
        let scope = asked(&["marital_status", "registered_on"], &["equals", "before"], false).unwrap();
        assert_eq!(scope[0].operators, ["equals"]);
        assert_eq!(scope[1].operators, ["equals", "before"]);
    }

    #[test]
    fn an_approval_narrows_and_never_widens() {
        let asked = |attribute: &str, operators: &[&str]| AttributeScope {
            attribute: attribute.to_owned(),
            operators: words(operators),
            disclose: true,
        };
        let applied = || vec![asked("marital_status", &["equals", "one_of"]), asked("registered_on", &["before"])];
        let narrowed = |attributes: &[&str], operators: &[&str], verdicts_only| {
            super::narrowed(applied(), &words(attributes), &words(operators), verdicts_only)
        };
        assert_eq!(narrowed(&[], &[], false).unwrap(), applied());
        let one = narrowed(&["marital_status"], &["equals"], true).unwrap();
        assert_eq!((one.len(), one[0].operators.as_slice(), one[0].disclose), (1, &words(&["equals"])[..], false));
        for (attributes, operators, reason) in [
            (&["income"][..], &[][..], "income is not applied for"),
            (&[], &["after"], "the operator after is not applied for"),
            (&[], &["before"], "no operator is left for marital_status"),
        ] {
            let error = narrowed(attributes, operators, false).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn what_was_mistyped_is_found_before_anything_is_signed() {
        for (attributes, operators, disclose, reason) in [
            (
                &["status"][..],
                &["equals"][..],
                false,
                "has no attribute \"status\"; it has marital_status, registered_on",
            ),
            (&["marital_status"], &["is"], false, "there is no operator \"is\""),
            (&["marital_status"], &["before"], false, "allows none of these operators; it allows equals, one_of"),
            (&["marital_status"], &["equals", "before"], false, "none of these attributes allows the operator before"),
            (&["marital_status"], &["equals"], true, "does not disclose"),
        ] {
            let error = asked(attributes, operators, disclose).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
