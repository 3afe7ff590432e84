//! Which devices compute a model together, and which side by side.

use super::{Device, Error, Result};

/// The devices of each replica of a model that is split `ways`, in the order in which they were
/// given: GPUs next to each other share a replica. The processor is as many ranks as wanted, so
/// that each time that it is named is a replica.
///
/// # Errors
/// [`Error::BadInput`] if the GPUs do not make whole replicas, or one is named twice.
pub fn replicas(devices: &[Device], ways: usize) -> Result<Vec<Vec<Device>>> {
    let bad = |why: String| Err(Error::BadInput(why));
    let gpus = devices.iter().filter(|device| **device != Device::Cpu).count();
    if devices.is_empty() || ways == 0 {
        return bad(format!("{} devices and {ways} ranks hold no model", devices.len()));
    }
    if ways == 1 {
        return Ok(devices.iter().map(|device| vec![*device]).collect());
    }
    if gpus == 0 {
        return Ok(devices.iter().map(|device| vec![*device; ways]).collect());
    }
    if gpus < devices.len() {
        return bad("a model is split over GPUs or over the processor, not over both".to_owned());
    }
    if !gpus.is_multiple_of(ways) {
        return bad(format!(
            "{gpus} GPUs are no whole replicas of a model that is split over {ways}"
        ));
    }
    let replicas: Vec<Vec<Device>> = devices.chunks(ways).map(<[Device]>::to_vec).collect();
    for replica in &replicas {
        let twice = replica.iter().enumerate().find(|(at, device)| replica[..*at].contains(device));
        if let Some((_, device)) = twice {
            return bad(format!("`{device}` is named twice for one replica"));
        }
    }
    Ok(replicas)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(devices: &[&str], ways: usize, expected: &[&[&str]]) {
        let parse = |names: &[&str]| -> Vec<Device> {
            names.iter().map(|name| name.parse().unwrap()).collect()
        };
        let expected: Vec<Vec<Device>> = expected.iter().map(|names| parse(names)).collect();
        assert_eq!(replicas(&parse(devices), ways).unwrap_or_default(), expected);
    }

    #[test]
    fn devices_next_to_each_other_share_a_replica() {
        let four = ["cuda:0", "cuda:1", "cuda:2", "cuda:3"];
        check(&four, 1, &[&["cuda:0"], &["cuda:1"], &["cuda:2"], &["cuda:3"]]);
        check(&four, 2, &[&["cuda:0", "cuda:1"], &["cuda:2", "cuda:3"]]);
        check(&four, 4, &[&four]);
    }

    #[test]
    fn the_processor_is_as_many_ranks_as_wanted() {
        check(&["cpu"], 4, &[&["cpu"; 4]]);
        check(&["cpu", "cpu"], 2, &[&["cpu"; 2], &["cpu"; 2]]);
        check(&["cpu", "cuda:0"], 1, &[&["cpu"], &["cuda:0"]]);
    }

    #[test]
    fn what_makes_no_whole_replicas_is_refused() {
        for (devices, ways) in [
            (&["cuda:0", "cuda:1", "cuda:2"][..], 2),
            (&["cuda:0"], 2),
            (&["cuda:0", "cuda:0"], 2),
            (&["cuda:0", "cpu"], 2),
            (&["cpu"], 0),
            (&[], 1),
        ] {
            check(devices, ways, &[]);
        }
    }
}
