//! Authorities in their folders: made, turned over, revoking, and many at once.

use super::*;
use crate::turn::LOCK;
use std::fs;
use std::thread;

#[test]
fn an_authority_signs_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("authority");
    let authority = Authority::create();
    authority.save(&folder).unwrap();
    let loaded = Authority::load(&folder).unwrap();
    let (before, after) = (authority.issue(), loaded.issue());
    assert_eq!(before.authorities, after.authorities);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!([mode(&folder), mode(&folder.join(KEY))], [0o700, 0o600]);
    }
}

#[test]
fn a_key_of_another_authority_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    Authority::create().save(folder.path()).unwrap();
    let certificate = fs::read_to_string(folder.path().join(CA)).unwrap();
    let error = Authority::create().save(folder.path()).unwrap_err().to_string();
    assert!(error.contains("holds an authority already"), "{error}");
    for file in [KEY, CA] {
        fs::remove_file(folder.path().join(file)).unwrap();
    }
    Authority::create().save(folder.path()).unwrap();
    fs::write(folder.path().join(CA), certificate).unwrap();
    let error = Authority::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("ca.key cannot be used"), "{error}");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_copy_is_kept_of_what_is_signed() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::found(folder.path()).unwrap();
    let identity = authority.sign(folder.path()).unwrap();
    let node = folder.path().join("node");
    identity.save(&node).unwrap();
    // The key is enough.
    fs::write(node.join("node.pem"), "").unwrap();
    let again = authority.sign_again(folder.path(), &node).unwrap();
    assert_eq!(again.node(), identity.node());
    let issued = folder.path().join(ISSUED);
    assert_eq!(names(&issued), [copy_of(identity.node())]);
    let copy = fs::read_to_string(issued.join(copy_of(identity.node()))).unwrap();
    assert_eq!(copy, again.certificate());
}

#[test]
fn a_rotation_outlives_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut authority = Authority::create();
    authority.save(folder.path()).unwrap();
    let old = authority.issue();
    authority.rotate(folder.path()).unwrap();
    let mut loaded = Authority::load(folder.path()).unwrap();
    let new = loaded.issue();
    assert_eq!(new.authorities, authority.issue().authorities);
    assert_eq!(new.authorities.len(), 2);
    assert_eq!(new.authorities[1], old.authorities[0], "the new one is first");
    assert_eq!(loaded.drop_old(folder.path()).unwrap(), 1);
    assert_eq!(loaded.drop_old(folder.path()).unwrap(), 0);
    let left = Authority::load(folder.path()).unwrap();
    assert_eq!(left.issuers.len(), 1);
    assert_eq!(left.issue().authorities, new.authorities[..1]);
    assert_eq!(names(folder.path()), [KEY, CA, LOCK]);
}

/// Whichever files a rotation or a drop has written, there is an authority to go on with.
#[test]
fn a_rotation_that_is_cut_off_leaves_the_old_authority() {
    let (folder, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut authority = Authority::create();
    authority.save(folder.path()).unwrap();
    let node = authority.sign(folder.path()).unwrap().node();
    authority.revoke(folder.path(), node).unwrap();
    let before = authority.issue().authorities;
    authority.save(after.path()).unwrap();
    authority.rotate(after.path()).unwrap();
    let move_on = |file: &str| {
        fs::copy(after.path().join(file), folder.path().join(file)).unwrap();
        fs::write(folder.path().join(format!("{file}.new")), "half of a dra").unwrap();
        Authority::load(folder.path()).unwrap()
    };
    for file in [CRL, KEY] {
        let loaded = move_on(file);
        assert_eq!(loaded.issue().authorities, before, "{file}");
        assert!(loaded.revoked.nodes.contains(&node), "{file}");
    }
    let rotated = move_on(CA).issue().authorities;
    assert_eq!(rotated, authority.issue().authorities);
    authority.drop_old(after.path()).unwrap();
    for file in [CA, KEY, CRL] {
        let loaded = move_on(file);
        assert_eq!(loaded.issue().authorities, rotated[..1], "{file}");
        assert!(loaded.revoked.nodes.contains(&node), "{file}");
    }
}

#[test]
fn who_is_revoked_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut authority = Authority::create();
    authority.save(folder.path()).unwrap();
    let [one, other] = [(); 2].map(|()| authority.sign(folder.path()).unwrap());
    authority.revoke(folder.path(), one.node()).unwrap();
    let mut authority = Authority::load(folder.path()).unwrap();
    let error = authority.revoke(folder.path(), one.node()).unwrap_err();
    assert!(matches!(error, AuthorityError::AlreadyRevoked(node) if node == one.node()));
    let node = folder.path().join("node");
    one.save(&node).unwrap();
    let error = authority.sign_again(folder.path(), &node).unwrap_err();
    assert!(matches!(error, AuthorityError::Revoked(node) if node == one.node()));
    authority.revoke(folder.path(), other.node()).unwrap();
    authority.rotate(folder.path()).unwrap();
    authority.drop_old(folder.path()).unwrap();
    let issued = Authority::load(folder.path()).unwrap().issue();
    assert_eq!(issued.revoked.nodes, [one.node(), other.node()].into());
    assert_eq!(issued.revoked.lists.len(), 1, "one for each key");
}

#[test]
fn an_unknown_node_is_not_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let mut authority = Authority::create();
    authority.save(folder.path()).unwrap();
    let node = authority.issue().node();
    let error = authority.revoke(folder.path(), node).unwrap_err().to_string();
    assert!(error.contains(&format!("issued/{node}.pem is not there")), "{error}");
    let other = authority.sign(folder.path()).unwrap();
    let issued = folder.path().join(ISSUED);
    fs::copy(issued.join(copy_of(other.node())), issued.join(copy_of(node))).unwrap();
    let error = authority.revoke(folder.path(), node).unwrap_err().to_string();
    assert!(error.contains(&format!("issued/{node}.pem cannot be used")), "{error}");
    assert_eq!(names(folder.path()), [KEY, CA, LOCK, ISSUED]);
}

#[test]
fn a_broken_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut authority = Authority::create();
    authority.save(folder.path()).unwrap();
    let node = authority.sign(folder.path()).unwrap().node();
    authority.revoke(folder.path(), node).unwrap();
    for file in [KEY, CA, CRL] {
        let path = folder.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        for broken in ["", &text[..text.len() / 2]] {
            fs::write(&path, broken).unwrap();
            let error = Authority::load(folder.path()).unwrap_err().to_string();
            assert!(error.contains(&format!("{file} cannot be used")), "{error}");
        }
        fs::write(&path, text).unwrap();
    }
    Authority::load(folder.path()).unwrap();
    fs::write(folder.path().join(NODE_KEY), "").unwrap();
    let error = authority.sign_again(folder.path(), folder.path()).unwrap_err().to_string();
    assert!(error.contains("node.key cannot be used"), "{error}");
}

/// Each with an authority of its own that it loaded before the others changed the folder.
fn at_once(folder: &Path, work: impl Fn(usize, Authority) + Sync) {
    let loaded = (0..8).map(|_| Authority::load(folder).unwrap());
    let loaded: Vec<_> = loaded.enumerate().collect();
    thread::scope(|scope| {
        for (at, authority) in loaded {
            let work = &work;
            scope.spawn(move || work(at, authority));
        }
    });
}

#[test]
fn changes_made_at_once_are_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let authority = Authority::found(folder).unwrap();
    let nodes = [(); 8].map(|()| authority.sign(folder).unwrap().node());
    at_once(folder, |at, mut authority| authority.revoke(folder, nodes[at]).unwrap());
    assert_eq!(Authority::load(folder).unwrap().revoked.nodes, nodes.into());
    at_once(folder, |_, mut authority| authority.rotate(folder).unwrap());
    let rotated = Authority::load(folder).unwrap();
    assert_eq!((rotated.issuers.len(), rotated.revoked.lists.len()), (9, 9));
    at_once(folder, |at, mut authority| match at {
        0 => drop(authority.drop_old(folder).unwrap()),
        _ => drop(authority.sign(folder).unwrap()),
    });
    let dropped = Authority::load(folder).unwrap();
    assert_eq!((dropped.issuers.len(), dropped.revoked.nodes), (1, nodes.into()));
    assert_eq!(names(&folder.join(ISSUED)).len(), 15);
}

#[test]
fn of_those_who_found_or_sign_into_a_folder_at_once_one_does() {
    let temporary = tempfile::tempdir().unwrap();
    let [folder, node] = ["authority", "node"].map(|name| temporary.path().join(name));
    let count = |work: &(dyn Fn() -> bool + Sync)| {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
            threads.into_iter().filter_map(|it| it.join().unwrap().then_some(())).count()
        })
    };
    assert_eq!(count(&|| Authority::found(&folder).is_ok()), 1);
    let authority = Authority::load(&folder).unwrap();
    assert_eq!(count(&|| authority.sign_into(&folder, &node).is_ok()), 1);
    let identity = Identity::load(&node).unwrap();
    assert_eq!(names(&folder.join(ISSUED)), [copy_of(identity.node())]);
    assert_eq!(count(&|| authority.sign_again_into(&folder, &node).is_ok()), 8);
    assert_eq!(Identity::load(&node).unwrap().node(), identity.node());
}

#[test]
fn what_is_in_a_folder_is_not_written_over() {
    let temporary = tempfile::tempdir().unwrap();
    let [one, other, node] = ["one", "other", "node"].map(|name| temporary.path().join(name));
    let authority = Authority::found(&one).unwrap();
    Authority::found(&other).unwrap();
    let before = fs::read(other.join(CA)).unwrap();
    let error = authority.sign_into(&one, &other).unwrap_err().to_string();
    assert!(error.contains("other holds an authority"), "{error}");
    authority.sign_into(&one, &one).unwrap_err();
    authority.issue().save(&other).unwrap_err();
    assert_eq!(fs::read(other.join(CA)).unwrap(), before);
    authority.sign_into(&one, &node).unwrap();
    fs::write(node.join(CRL), "").unwrap();
    for file in [NODE_KEY, NODE, CA, CRL] {
        let error = Authority::found(&node).unwrap_err().to_string();
        assert!(error.contains(&format!("node holds {file}")), "{error}");
        fs::remove_file(node.join(file)).unwrap();
    }
    Authority::found(&node).unwrap();
}

#[test]
fn a_founding_that_was_cut_off_is_completed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let load = || Authority::load(folder).unwrap_err().to_string();
    let error = load();
    let says = format!("make an authority with `logo cert new {}`", folder.display());
    assert!(error.contains(&says), "{error}");
    let whole = Authority::found(folder).unwrap();
    let key = fs::read(folder.join(KEY)).unwrap();
    fs::remove_file(folder.join(CA)).unwrap();
    let error = load();
    assert!(error.contains("ca.pem is not there: make it from ca.key with"), "{error}");
    let again = Authority::found(folder).unwrap();
    assert_eq!(fs::read(folder.join(KEY)).unwrap(), key, "the key is kept");
    assert_eq!(Authority::load(folder).unwrap().certificates, again.certificates);
    let holder = |authority: &Authority| holder_of(authority.issuers[0].key());
    assert_eq!(holder(&whole), holder(&again));
}
