//! What holds of queries, and what they come to.

use super::*;
use crate::predicate::Relation;
use proptest::prelude::*;

fn of(function: Function, name: &str) -> Column {
    Column::Of(function, name.to_owned())
}

fn query(keys: &[GroupKey], columns: &[Column]) -> Query {
    let is_db = Predicate::equal("role", "db").unwrap();
    Query::new("/dc/*".parse().unwrap(), is_db, keys.to_vec(), columns.to_vec()).unwrap()
}

fn catalog(name: &str, role: &str, load: Option<f64>) -> (Name, Attributes) {
    let attributes = Attributes::default().with("role", role).unwrap();
    let attributes = match load {
        Some(load) => attributes.with("load", load).unwrap(),
        None => attributes,
    };
    (name.parse().unwrap(), attributes)
}

/// What the query comes to where each of these is said by a node of its own.
fn answer(query: &Query, said: &[(Name, Attributes)]) -> Tally {
    let shares = said.iter().filter_map(|(name, own)| query.share([(name, own)].into_iter()));
    let merge = |one: Vec<Sketch>, other: Vec<Sketch>| {
        one.iter().zip(&other).map(|(one, other)| one.merged(other)).collect()
    };
    let parts = shares.map(|share| share.parts()).reduce(merge).unwrap_or_default();
    query.tally(&parts.into_iter().map(Arc::new).collect::<Vec<_>>())
}

#[test]
fn a_zone_is_asked_of_as_an_attribute_is_and_hides_one() {
    let said = [
        catalog("/dc/ams", "db", Some(1.0)),
        catalog("/dc/fra", "db", Some(2.0)),
        catalog("/dc/fra", "web", Some(3.0)),
    ];
    let (name, own) = catalog("/dc/lon", "db", Some(4.0));
    let hidden = (name, own.with("zone", "ams").unwrap());
    let said = [&said[..], &[hidden]].concat();
    let sum = |asked: Predicate| {
        let columns = vec![of(Function::Sum, "load")];
        let query = Query::new("/dc/*".parse().unwrap(), asked, vec![], columns).unwrap();
        answer(&query, &said).groups.first().and_then(|group| group.values[0])
    };
    let zone = |zone: &str| Predicate::equal(Query::ZONE, zone).unwrap();
    assert_eq!(sum(zone("fra")), Some(5.0));
    assert_eq!(sum(zone("ams")), Some(1.0), "what stars stand for, and not what a node says");
    assert_eq!(sum(zone("ams").negated().unwrap()), Some(9.0));
    assert_eq!(sum(zone("ber")), None);
}

#[test]
fn rows_are_grouped_and_summed_up() {
    let columns = [
        Column::Members,
        of(Function::Count, "load"),
        of(Function::Sum, "load"),
        of(Function::Average, "load"),
        of(Function::Min, "load"),
        of(Function::Max, "load"),
        of(Function::Deviation, "load"),
        of(Function::Percentile(50), "load"),
    ];
    let said = [
        catalog("/dc/fra", "db", Some(4.0)),
        catalog("/dc/ams", "db", Some(1.0)),
        catalog("/dc/ams", "db", Some(3.0)),
        catalog("/dc/ams", "db", None),
        catalog("/dc/ams", "web", Some(9.0)),
        catalog("/dc/ams/1", "db", Some(9.0)),
        catalog("/dc/lon", "db", None),
    ];
    let tally = answer(&query(&[GroupKey::Zone], &columns), &said);
    let keys: Vec<_> = tally.groups.iter().map(|group| group.key[0].clone().unwrap()).collect();
    assert_eq!(keys, ["ams", "fra", "lon"].map(Scalar::from));
    let [ams, fra, lon] = [0, 1, 2].map(|at: usize| &tally.groups[at]);
    let known = [3.0, 2.0, 4.0, 2.0, 1.0, 3.0, 1.0].map(Some);
    assert_eq!(ams.values[..7], known);
    let median = ams.values[7].unwrap();
    assert!((median - 1.0).abs() <= 1.001 * tally.error && tally.error < 0.02, "{median}");
    assert_eq!((fra.members, fra.values[3], fra.values[6]), (1, Some(4.0), Some(0.0)));
    let nothing = [Some(1.0), Some(0.0), None, None, None, None, None, None];
    assert_eq!(lon.values, nothing, "of no values there is no sum");
    assert_eq!((tally.members, tally.others), (5, None));
}

#[test]
fn an_attribute_that_is_not_there_is_a_group() {
    let by_load = [GroupKey::Attribute("load".to_owned())];
    let said = [
        catalog("/dc/a", "db", Some(2.0)),
        catalog("/dc/b", "db", None),
        catalog("/dc/c", "db", Some(2.0)),
    ];
    let tally = answer(&query(&by_load, &[Column::Members]), &said);
    let told: Vec<_> = tally.groups.iter().map(|it| (it.key[0].clone(), it.members)).collect();
    assert_eq!(told, [(Some(2.0.into()), 2), (None, 1)]);
    let none = answer(&query(&by_load, &[Column::Members]), &said[..0]);
    assert_eq!(none, Tally::default());
    let all = query(&[], &[of(Function::Count, "role"), of(Function::Sum, "role")]);
    let tally = answer(&all, &said);
    assert_eq!(tally.groups[0].values, [Some(3.0), None], "texts are counted, not summed up");
}

#[test]
fn many_groups_are_told_as_others() {
    let columns = [of(Function::Sum, "load"), of(Function::Percentile(99), "load")];
    let said: Vec<_> =
        (0..200).map(|at| catalog(&format!("/dc/zone-{at}"), "db", Some(1.0))).collect();
    let tally = answer(&query(&[GroupKey::Zone], &columns), &said);
    let others = tally.others.clone().expect("there are too many");
    let kept = tally.groups.len() as u64;
    assert!((25..100).contains(&kept), "{kept}");
    assert_eq!((kept + others.members, tally.members), (200, 200));
    assert_eq!(others.values[0], Some(others.members as f64));
}

#[test]
fn bounds() {
    let new = |keys: Vec<GroupKey>, columns: Vec<Column>| {
        Query::new("/dc/*".parse().unwrap(), Predicate::all(), keys, columns)
    };
    assert_eq!(new(vec![], vec![]), Err(QueryError::NoColumns));
    assert!(new(vec![GroupKey::Zone; 2], vec![Column::Members; 8]).is_ok());
    assert_eq!(new(vec![], vec![Column::Members; 9]), Err(QueryError::TooManyColumns(9)));
    let three = new(vec![GroupKey::Zone; 3], vec![Column::Members]);
    assert_eq!(three, Err(QueryError::TooManyKeys(3)));
    for of in [0, 100] {
        let column = Column::Of(Function::Percentile(of), "load".to_owned());
        assert_eq!(new(vec![], vec![column]), Err(QueryError::Percentile(of)));
    }
    let bad = new(vec![GroupKey::Attribute("Role".to_owned())], vec![Column::Members]);
    assert!(matches!(bad, Err(QueryError::Attribute(_))));
    let text = "x".repeat(Attributes::TEXT_LEN_MAX);
    let one = || Predicate::compare("role", Relation::NotEqual, text.as_str()).unwrap();
    let three = one().and(one()).and_then(|two| two.and(one())).unwrap();
    let long: Pattern = format!("/{}/*", "a".repeat(250)).parse().unwrap();
    let columns = vec![of(Function::Sum, "a23456789"); 8];
    let query = Query::new(long, three, vec![], columns);
    assert!(matches!(query, Err(QueryError::TooLong(701..))), "{query:?}");
}

/// Queries go over the wire in postcard's form, in the type of their objects.
#[test]
fn golden_bytes_and_name() {
    let columns = [Column::Members, of(Function::Percentile(99), "load")];
    let query = query(&[GroupKey::Zone, GroupKey::Attribute("role".to_owned())], &columns);
    let bytes = postcard::to_allocvec(&query).unwrap();
    let golden =
        b"\x05/dc/*\x01\x01\x04role\x00\x00\x02db\x02\x00\x01\x04role\x02\x00\x01\x07\x63\x04load";
    assert_eq!(bytes, golden);
    assert_eq!(postcard::from_bytes(&bytes), Ok(query.clone()));
    assert_eq!(query.name().as_str(), "/queries/d67f33afcc562e75adc285d8f0647ecf");
    let ty = crate::ObjectType::query(query);
    assert_eq!(postcard::to_allocvec(&ty).unwrap()[..1], [9]);
    let shown = "Query of /dc/* with agreement: eventual, delivery: best effort, order: any";
    assert_eq!(ty.to_string(), shown);
    assert!(postcard::from_bytes::<Query>(b"\x05/dc/*\x01\x00\x00\x00").is_err(), "no columns");
    assert!(postcard::from_bytes::<Query>(b"\x05/dc/a\x01\x00\x00\x01").is_err(), "cut short");
}

#[test]
fn a_sketch_of_another_query_is_not_counted() {
    let one = query(&[GroupKey::Zone], &[Column::Members]);
    let other = query(&[], &[Column::Members]);
    let (name, own) = catalog("/dc/ams", "db", None);
    let share = one.share([(&name, &own)].into_iter()).unwrap();
    assert!(one.fits(&share) && !other.fits(&share));
    assert_eq!(other.tally(&[Arc::new(share)]), Tally::default());
}

proptest! {
    #[test]
    fn garbage_is_no_reason_to_panic(bytes: Vec<u8>) {
        drop(postcard::from_bytes::<Query>(&bytes));
    }
}
