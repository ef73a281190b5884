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
