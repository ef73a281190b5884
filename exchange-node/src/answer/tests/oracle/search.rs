//! Attackers who search by what is no operand: by items that they publish themselves, and by the inputs that select rows.

use super::*;

#[tokio::test]
async fn a_bound_cannot_be_found_by_publishing_one_item_after_the_other() {
    let mut fixture = Fixture::town();
    fixture.publish(register("income", 1, "integer"));
    let mut provider = Provider::with(fixture, RecordsDouble::saying(income()), Limits::default()).await;
    let object = trust::directory::Object::Item("housing".parse().unwrap(), "公租房申请".into());
    let (mut low, mut high, mut answered) = (0, MOST, 0);
    // Each version is the item's own last statement, and fixes all bounds that the next answers can lead to.
    for version in 1..=16_u32 {
        let middle = low + (high - low) / 2;
        let bounds = [middle, low + (middle - low) / 2, middle + (high - middle) / 2];
        let proof = |bound: &i64| registry::ProofRequirement {
            proof: format!("收入证明{bound}"),
            about: "applicant".into(),
            legal_bases: basis(),
            issuing_unit: "用人单位".into(),
            answered_by: "civil-affairs/income".into(),
            major_version: 1,
            claim: Some(claim("at_least", &[*bound])),
            ..Default::default()
        };
        let item = registry::ItemPublished {
            item: "公租房申请".into(),
            version,
            effective_from_ms: provider.clock.now_ms() - 1,
            name: Some(registry::LocalName { zh: "公租房申请".into(), en: String::new() }),
            proofs: bounds.iter().map(proof).collect(),
            ..fixture::item()
        };
        provider.fixture.say("housing", registry::statement::Body::ItemPublished(item), "item/housing/公租房申请");
        provider.later(DAY_MS).await;
        let statement = provider.fixture.digest_of(&object).as_bytes().to_vec();
        for (nth, bound) in bounds.into_iter().enumerate() {
            if !(low + 1..high).contains(&bound) {
                continue;
            }
            let fixed = wire::Claim { fixed_by_item: true, ..claim("at_least", &[bound]) };
            let named =
                |request: &mut wire::Request| request.purpose.as_mut().unwrap().item_statement.clone_from(&statement);
            let answer = provider.put_as(u64::from(version) * 10 + nth as u64, Ask::of(vec![fixed]), named).await;
            match outcome(&answer) {
                Ok(Verdict::Match) => low = bound,
                Ok(_) => high = bound,
                refused => {
                    assert_eq!(refused, spent());
                    continue;
                }
            }
            answered += 1;
        }
    }
    assert!((low..high).contains(&INCOME), "the attacker reasons well: {low} to {high}");
    assert_eq!(answered, GuessSettings::default().fixed_claims_per_year, "from {low} to {high}");
    // What was fixed and answered stays free, and what is no item's is another budget.
    assert_eq!(outcome(&provider.put(999, Ask::of(vec![claim("at_least", &[1])])).await), Ok(Verdict::Match));
}

/// A register whose rows are selected by the inputs: by an income, by a month, by a certificate's number.
fn selected() -> registry::ServicePublished {
    let input =
        |name: &str, ty: &str| registry::InputDescription { name: name.into(), r#type: ty.into(), required: false };
    registry::ServicePublished {
        inputs: vec![input("income", "integer"), input("month", "string"), input("certificate_no", "string")],
        ..register("selected", 1, "integer")
    }
}

#[tokio::test]
async fn a_value_that_selects_rows_costs_what_comparing_it_costs() {
    let mut fixture = Fixture::town();
    fixture.publish(register("income", 1, "integer"));
    fixture.publish(selected());
    // It tells no income, and selects by it all the same.
    let mut sister = registry::ServicePublished { service: "sister".into(), ..selected() };
    sister.attributes.retain(|attribute| attribute.name != "income");
    fixture.publish(sister);
    let provider = Provider::with(fixture, RecordsDouble::saying(income()), Limits::default()).await;
    let by = |name: &str, value: wire::Value| {
        let input = wire::Input { name: name.into(), value: Some(value) };
        move |request: &mut wire::Request| request.inputs = vec![input]
    };
    let exists = || Ask { service: "selected", ..Ask::of(vec![claim("exists", &[])]) };
    let mut answered = 0;
    for nth in 0..50_u64 {
        let answer = provider.put_as(nth, exists(), by("income", number(nth as i64))).await;
        match &answer.outcome {
            Some(Outcome::Verdicts(_)) => answered += 1,
            Some(Outcome::Refusal(refused)) => {
                assert_eq!((refused.code.as_str(), refused.field.as_str()), ("GUESS_BUDGET_SPENT", "inputs[0]"));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(answered, 3);
    assert_eq!(provider.records.lookups(), 3, "charged before anything is looked up");
    // It is one budget with the claims about it, also of another service, and what was tried is free there.
    assert_eq!(outcome(&provider.put(60, Ask::of(vec![claim("equals", &[9])])).await), spent());
    assert_eq!(outcome(&provider.put(61, Ask::of(vec![claim("equals", &[1])])).await), Ok(Verdict::Mismatch));
    let employer = || text_claim("employer", "equals", wire::value::Kind::Text("宁河中学".into()));
    let sister = || Ask { service: "sister", ..Ask::of(vec![employer()]) };
    assert_eq!(outcome(&provider.put_as(62, sister(), by("income", number(9))).await), spent());
    assert_eq!(outcome(&provider.put_as(63, sister(), by("income", number(1))).await), Ok(Verdict::Match));

    // Twelve months fit, on one day and again; a certificate's number is not found by trying.
    let text = |text: String| wire::Value { kind: Some(wire::value::Kind::Text(text)) };
    for nth in 0..24_u64 {
        let month = text(format!("2025-{:02}", nth % 12 + 1));
        let answer = provider.put_as(100 + nth, exists(), by("month", month)).await;
        assert_eq!(outcome(&answer), Ok(Verdict::Match), "{nth}");
    }
    let mut answered = 0;
    for nth in 0..60_u64 {
        let certificate = text(format!("C{nth}"));
        let answer = provider.put_as(200 + nth, exists(), by("certificate_no", certificate)).await;
        answered += u32::from(outcome(&answer).is_ok());
    }
    assert_eq!(answered, GuessSettings::default().input_values_per_day);
}
