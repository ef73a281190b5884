//! The map against a plain computation from its definition, and proofs that show nothing but what was said last.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn place(index: u64) -> Place {
    Place { index, digest: Digest::new(Sha256::digest(index.to_be_bytes()).into()) }
}

/// The root, computed from the definition alone: no caches, no groups.
fn plain_root(statements: &[(String, Place)]) -> Hash {
    let mut chains: BTreeMap<&str, [u8; 32]> = BTreeMap::new();
    for (object, place) in statements {
        let chain = chains.entry(object).or_default();
        let bytes = [chain.as_slice(), &place.index.to_be_bytes(), place.digest.as_bytes()].concat();
        *chain = Sha256::digest(bytes).into();
    }
    let mut buckets = vec![Vec::new(); 65_536];
    for (object, chain) in chains {
        let digest = Sha256::digest(object);
        let leaf = [object.as_bytes(), &[0], &chain].concat();
        buckets[usize::from(digest[0]) * 256 + usize::from(digest[1])].push(leaf_hash(&leaf));
    }
    root(&buckets.iter().map(|leaves| leaf_hash(root(leaves).as_bytes())).collect::<Vec<_>>())
}

fn map_of(statements: &[(String, Place)]) -> StateMap {
    let mut map = StateMap::new();
    for (object, place) in statements {
        map.say(object, *place);
    }
    map
}

fn statements(count: u64, objects: u64) -> Vec<(String, Place)> {
    // So few different objects fall into one bucket only by chance; those of `crowded` always do.
    (0..count).map(|index| (format!("key/{}", index * 7919 % objects), place(index))).collect()
}

/// Objects of the bucket that "key/0" falls into.
fn crowded() -> Vec<String> {
    (0..)
        .map(|number: u64| format!("key/{number}"))
        .filter(|object| super::number(object) == super::number("key/0"))
        .take(5)
        .collect()
}

#[test]
fn the_empty_map_has_the_root_of_65_536_empty_buckets() {
    assert_eq!(StateMap::new().root(), plain_root(&[]));
    assert_eq!(StateMap::new().objects(), 0);
    assert_eq!(StateMap::new().prove("key/0"), None);
}

#[test]
fn the_root_is_the_one_of_the_definition_and_stays_so_as_the_map_grows() {
    let all = statements(300, 90);
    let mut map = StateMap::new();
    for (index, (object, place)) in all.iter().enumerate() {
        map.say(object, *place);
        if index % 60 == 0 {
            assert_eq!(map.root(), plain_root(&all[..=index]), "after statement {index}");
        }
    }
    assert_eq!(map.root(), plain_root(&all));
    assert_eq!((map.objects(), map.iter().count()), (90, 90));
}

#[test]
fn several_objects_of_one_bucket_are_all_proved() {
    let all: Vec<_> = crowded().into_iter().zip(0..).map(|(object, index)| (object, place(index))).collect();
    let map = map_of(&all);
    assert_eq!(map.root(), plain_root(&all));
    for (object, said) in &all {
        let proof = map.prove(object).unwrap();
        assert_eq!(proof.bucket_size, 5);
        assert_eq!(verify(&proof, &map.root()), Ok((*said, Chain::START)));
    }
}

#[test]
fn only_the_last_statement_is_proved_to_be_the_last() {
    let object = "access/civil-affairs/housing/0011223344556677".to_owned();
    let mut all = statements(50, 50);
    all.extend([(object.clone(), place(50)), (object.clone(), place(60))]);
    let map = map_of(&all);
    let proof = map.prove(&object).unwrap();
    let before = Chain::START.followed_by(&place(50));
    assert_eq!(verify(&proof, &map.root()), Ok((place(60), before)));
    // The earlier statement, which was revoked by the later one, cannot be passed off as the last.
    let earlier = map_of(&all[..51]).prove(&object).unwrap();
    assert!(verify(&earlier, &map.root()).is_err());
    let swapped = StateProof { last_statement: earlier.last_statement, index: 50, ..proof.clone() };
    assert!(verify(&swapped, &map.root()).is_err());
    let renamed = StateProof { object: object.replace("housing", "taxation"), ..proof };
    assert!(verify(&renamed, &map.root()).is_err());
}

/// Two statements in the other order leave another root: what followed what is part of the state.
#[test]
fn the_order_of_statements_counts() {
    let there = [("key/1".to_owned(), place(1)), ("key/1".to_owned(), place(2)), ("key/1".to_owned(), place(3))];
    let mut back = there.clone();
    (back[0].1.digest, back[1].1.digest) = (there[1].1.digest, there[0].1.digest);
    assert_ne!(map_of(&there).root(), map_of(&back).root());
    assert_ne!(map_of(&there).root(), map_of(&there[1..]).root());
}

#[test]
fn a_copy_stays_as_it_was_while_the_original_grows() {
    let all = statements(200, 60);
    let mut map = map_of(&all[..100]);
    let (copy, root) = (map.clone(), map.root());
    for (object, place) in &all[100..] {
        map.say(object, *place);
    }
    assert_eq!(copy.root(), root);
    assert_eq!(map.root(), plain_root(&all));
    let proof = copy.prove("key/0").unwrap();
    assert!(verify(&proof, &root).is_ok() && verify(&proof, &map.root()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn each_object_is_proved_and_nothing_else(objects in prop::collection::vec(0..40_u64, 1..120), flip: prop::sample::Index) {
        let all: Vec<_> = (0..).zip(&objects).map(|(index, object)| (format!("key/{object}"), place(index))).collect();
        let map = map_of(&all);
        let root = map.root();
        for said in map.iter() {
            let proof = map.prove(said.object()).unwrap();
            prop_assert_eq!(verify(&proof, &root), Ok((said.last(), said.before())));
        }
        let mut wrong = map.prove(all[0].0.as_str()).unwrap();
        let hash = flip.index(wrong.map_path.len());
        wrong.map_path[hash][0] ^= 1;
        prop_assert!(verify(&wrong, &root).is_err());
        let mut short = map.prove(all[0].0.as_str()).unwrap();
        short.map_path.pop();
        prop_assert!(verify(&short, &root).is_err());
    }
}
