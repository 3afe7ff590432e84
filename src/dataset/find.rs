//! Which dataset somebody means.

use std::path::{Path, PathBuf};

use crate::hint::Hinted;
use crate::records::{Arm, Dataset};
use crate::store::Store;

/// Letters of a hash that name a dataset, as in the names of folders.
const HASH_LETTERS_MIN: usize = 8;

/// The dataset that `text` names: its number, the beginning of its hash, its folder, its name with
/// the arm as in `rehearsal-verified`, or its name alone where it has one arm. Of several builds with
/// the same name it is the newest.
///
/// # Errors
/// If there is none, or the name has several arms.
pub fn find(store: &Store, text: &str) -> anyhow::Result<Dataset> {
    let datasets = store.datasets()?;
    let folder = Path::new(text).canonicalize().ok();
    if let Some(dataset) = datasets.iter().find(|dataset| is_exactly(store, dataset, text, &folder))
    {
        return Ok(dataset.clone());
    }
    let arm = |arm: Arm| datasets.iter().find(|set| set.arm == arm && set.name == text);
    match (arm(Arm::Verified), arm(Arm::Unverified)) {
        (Some(dataset), None) | (None, Some(dataset)) => Ok(dataset.clone()),
        (Some(_), Some(_)) => Err(Hinted::new(
            format!("the dataset `{text}` has two arms"),
            format!("give `{text}-verified` or `{text}-unverified`"),
        )
        .into()),
        (None, None) => Err(Hinted::new(
            format!("there is no dataset `{text}`"),
            "`thinkery dataset list` shows what there is",
        )
        .into()),
    }
}

/// Whether `text` can mean no other dataset, but for an older build.
fn is_exactly(store: &Store, dataset: &Dataset, text: &str, folder: &Option<PathBuf>) -> bool {
    let path = Path::new(&dataset.path);
    dataset.id.to_string() == text
        || (text.len() >= HASH_LETTERS_MIN && dataset.hash.starts_with(text))
        || path == Path::new(text)
        || path.file_name().is_some_and(|name| name == text)
        || format!("{}-{}", dataset.name, dataset.arm.name()) == text
        || (folder.is_some() && store.absolute(&dataset.path).canonicalize().ok() == *folder)
}

#[cfg(test)]
mod tests {
    use super::find;
    use crate::hint;
    use crate::records::{Arm, Mode};
    use crate::store::Store;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for (name, arm, hash) in [
            ("rehearsal", Arm::Verified, "aaaaaaaa11"),
            ("rehearsal", Arm::Unverified, "bbbbbbbb22"),
            ("rehearsal", Arm::Verified, "cccccccc33"),
            ("other", Arm::Unverified, "dddddddd44"),
        ] {
            let path = format!("datasets/{name}-{}-{}", arm.name(), &hash[..8]);
            store.add_dataset((name, arm, Mode::Strict), hash, &path, &[]).unwrap();
        }
        (dir, store)
    }

    #[track_caller]
    fn check(text: &str, id: i64) {
        let (_dir, store) = store();
        assert_eq!(find(&store, text).unwrap().id.0, id, "{text}");
    }

    #[test]
    fn a_dataset_has_many_names() {
        check("2", 2);
        check("aaaaaaaa", 1);
        check("datasets/rehearsal-verified-aaaaaaaa", 1);
        check("rehearsal-unverified-bbbbbbbb", 2);
        check("rehearsal-verified", 3);
        check("other", 4);
    }

    #[test]
    fn what_names_none_or_two_is_an_error_with_a_hint() {
        let (_dir, store) = store();
        for (text, message, hinted) in [
            ("rehearsal", "the dataset `rehearsal` has two arms", "give `rehearsal-verified` or"),
            ("aaaaaaa", "there is no dataset `aaaaaaa`", "`thinkery dataset list` shows"),
            ("9", "there is no dataset `9`", "`thinkery dataset list` shows"),
        ] {
            let error = find(&store, text).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(hint::of(&error).unwrap().starts_with(hinted), "{error:?}");
        }
    }
}
