//! Who owns which partition: a sticky assignment, balanced within one, with the fewest moves.

use std::collections::{BTreeMap, BTreeSet};

use crate::routing::Partitions;

/// The partitions of each member of a group, by the member's id.
pub type Assignment = BTreeMap<String, BTreeSet<u32>>;

/// Shares partitions out among `members`, beginning with what each of them owns now.
///
/// Every partition has one owner, unless there are no members. Nobody owns more than one partition more than
/// anybody else. No assignment that is balanced so moves fewer partitions away from an owner that stays. What
/// `owned` says of others than the members, of partitions that do not exist, or of one twice does not count; of two
/// who claim one partition the one with the lower id has it. The same arguments give the same answer everywhere.
///
/// ```
/// # use tidegate_core::{Partitions, assignment::assign};
/// let three = Partitions::new(3)?;
/// let alone = assign(["a"], &Default::default(), three);
/// let two = assign(["a", "b"], &alone, three);
/// assert_eq!(two["a"].len() + two["b"].len(), 3);
/// assert!(two["a"].is_subset(&alone["a"]));
/// # Ok::<(), String>(())
/// ```
pub fn assign<'a>(
    members: impl IntoIterator<Item = &'a str>,
    owned: &Assignment,
    partitions: Partitions,
) -> Assignment {
    let mut assigned: Assignment =
        members.into_iter().map(|id| (id.to_owned(), BTreeSet::new())).collect();
    let count = assigned.len() as u32;
    if count == 0 {
        return assigned;
    }
    let mut free: BTreeSet<u32> = (0..partitions.get()).collect();
    for (id, own) in &mut assigned {
        let claimed = owned.get(id).into_iter().flatten();
        own.extend(claimed.filter(|partition| free.remove(partition)));
    }
    for (id, quota) in quotas(&assigned, partitions.get(), count) {
        let Some(own) = assigned.get_mut(&id) else { continue };
        while own.len() > quota {
            free.extend(own.pop_last());
        }
    }
    // WHY: worked out again, as those who gave up partitions have just what they may keep now.
    for (id, quota) in quotas(&assigned, partitions.get(), count) {
        let Some(own) = assigned.get_mut(&id) else { continue };
        while own.len() < quota
            && let Some(partition) = free.pop_first()
        {
            own.insert(partition);
        }
    }
    assigned
}

/// How many each may own. Where it does not come out even, those who own most have one more: they would have to
/// give it up otherwise.
fn quotas(assigned: &Assignment, partitions: u32, count: u32) -> Vec<(String, usize)> {
    let (least, over) = ((partitions / count) as usize, (partitions % count) as usize);
    let mut by_most: Vec<(&String, usize)> =
        assigned.iter().map(|(id, own)| (id, own.len())).collect();
    by_most.sort_by(|(a_id, a), (b_id, b)| b.cmp(a).then_with(|| a_id.cmp(b_id)));
    let quota = |place: usize| least + usize::from(place < over);
    by_most.into_iter().enumerate().map(|(place, (id, _))| (id.clone(), quota(place))).collect()
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    const IDS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

    fn partitions(count: u32) -> Partitions {
        Partitions::new(count).unwrap()
    }

    fn some_members(rng: &mut Rng) -> Vec<&'static str> {
        let mut ids = IDS.to_vec();
        rng.shuffle(&mut ids);
        ids.truncate(rng.usize(1..=IDS.len()));
        ids
    }

    /// Claims of anybody, of anything, also twice.
    fn claims(rng: &mut Rng, count: u32) -> Assignment {
        let mut owned = Assignment::new();
        for id in IDS {
            let own = (0..count + 2).filter(|_| rng.u8(0..4) == 0).collect();
            owned.insert(id.to_owned(), own);
        }
        owned
    }

    fn is_complete_and_balanced(assigned: &Assignment, count: u32) -> bool {
        let all: Vec<u32> = assigned.values().flatten().copied().collect();
        let each: BTreeSet<u32> = all.iter().copied().collect();
        let sizes = || assigned.values().map(BTreeSet::len);
        all.len() == each.len()
            && each == (0..count).collect()
            && sizes().max().unwrap_or(0) - sizes().min().unwrap_or(0) <= 1
    }

    #[test]
    fn every_partition_has_one_owner_and_nobody_has_two_more_than_another() {
        let mut rng = Rng::with_seed(1);
        for _ in 0..5_000 {
            let count = rng.u32(1..20);
            let (members, owned) = (some_members(&mut rng), claims(&mut rng, count));
            let assigned = assign(members.iter().copied(), &owned, partitions(count));
            assert!(
                is_complete_and_balanced(&assigned, count),
                "{members:?} {owned:?} {assigned:?}"
            );
            assert_eq!(assigned.len(), members.len());
        }
    }

    /// By trying every balanced way to size the shares: what stays is the lesser of what one has and may have.
    #[test]
    fn no_balanced_assignment_moves_fewer() {
        let mut rng = Rng::with_seed(2);
        for _ in 0..5_000 {
            let count = rng.u32(1..20);
            let (before, after) = (some_members(&mut rng), some_members(&mut rng));
            let owned = assign(before.iter().copied(), &claims(&mut rng, count), partitions(count));
            let assigned = assign(after.iter().copied(), &owned, partitions(count));
            let had = |id: &str| owned.get(id).cloned().unwrap_or_default();
            let stayed: usize =
                assigned.iter().map(|(id, own)| own.intersection(&had(id)).count()).sum();
            let (least, over) = (count as usize / after.len(), count as usize % after.len());
            let most =
                (0..1_u32 << after.len()).filter(|chosen| chosen.count_ones() as usize == over);
            let most = most.map(|chosen| {
                let quota = |place: usize| least + usize::from(chosen >> place & 1 == 1);
                after.iter().enumerate().map(|(n, id)| had(id).len().min(quota(n))).sum::<usize>()
            });
            assert_eq!(Some(stayed), most.max(), "{owned:?} {after:?} {assigned:?}");
        }
    }

    #[test]
    fn nothing_moves_where_nothing_has_changed_and_the_order_of_members_does_not_matter() {
        let mut rng = Rng::with_seed(3);
        for _ in 0..2_000 {
            let count = rng.u32(1..20);
            let members = some_members(&mut rng);
            let assigned =
                assign(members.iter().copied(), &claims(&mut rng, count), partitions(count));
            let again = assign(members.iter().rev().copied(), &assigned, partitions(count));
            assert_eq!(again, assigned);
        }
    }

    #[test]
    fn without_members_nobody_owns_anything_and_some_may_have_none() {
        assert!(assign([], &Assignment::new(), partitions(4)).is_empty());
        let one = assign(["a", "b", "c"], &Assignment::new(), partitions(1));
        assert_eq!(one.values().filter(|own| own.is_empty()).count(), 2);
    }
}
