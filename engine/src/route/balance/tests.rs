//! Who is chosen, by every policy, with weights, hints and faults.

use super::*;
use crate::route::aim::Wish;
use crate::route::field::Unfit;

fn candidate(id: u16, weight: u32, lag_ms: u32) -> Candidate {
    Candidate {
        backend: BackendId(id),
        name: format!("db{id}").into(),
        weight,
        lag_ms: Some(lag_ms),
        is_primary: id == 0,
        is_fenced: id == 2,
        unfit: (id == 0).then_some(Unfit::Fallback),
    }
}

/// A primary and replicas with these weights.
fn field(weights: &[u32]) -> Field {
    let replicas =
        (1..).zip(weights).map(|(id, weight)| candidate(id, *weight, u32::from(id) * 10));
    let candidates = std::iter::once(candidate(0, 100, 0)).chain(replicas).collect();
    Field { candidates, falls_back: true }
}

fn loads(outstanding: &[u32]) -> impl Fn(BackendId) -> Load + '_ {
    |id| {
        let outstanding = outstanding.get(id.index()).copied().unwrap_or(0);
        Load { outstanding, connections: 10 - outstanding, ..Load::default() }
    }
}

fn asked(aim: &Aim, avoids: Option<BackendId>) -> Asked<'_> {
    Asked { aim, avoids, able: Able::ANY }
}

fn choose(balance: &mut Balance, field: &Field, aim: &Aim, policy: Policy) -> Option<u16> {
    let none = |_| Load::default();
    let chosen = balance.choose(field, asked(aim, None), policy, Time::ZERO, none);
    chosen.ok().map(|id| id.0)
}

/// How often each is chosen of so many times.
fn shares(field: &Field, policy: Policy, times: usize) -> Vec<usize> {
    let mut balance = Balance::default();
    let mut counts = vec![0; field.candidates.len()];
    for _ in 0..times {
        let chosen = choose(&mut balance, field, &Aim::Reads, policy).unwrap();
        counts[usize::from(chosen)] += 1;
    }
    counts
}

const ALL: [Policy; 6] = [
    Policy::LeastOutstanding,
    Policy::LeastConnections,
    Policy::Fastest,
    Policy::LeastLag,
    Policy::WeightedRandom,
    Policy::RoundRobin,
];

#[test]
fn whatever_the_policy_only_who_is_fit_is_chosen() {
    for policy in ALL {
        let mut field = field(&[100, 100, 100]);
        assert_eq!(shares(&field, policy, 300)[0], 0, "{policy:?}");
        field.candidates[1].unfit = Some(Unfit::Lags);
        field.candidates[3].unfit = Some(Unfit::Draining);
        assert_eq!(shares(&field, policy, 10), [0, 0, 10, 0], "{policy:?}");
        field.candidates[2].unfit = Some(Unfit::Unreachable);
        assert_eq!(shares(&field, policy, 10), [10, 0, 0, 0], "{policy:?}: the primary, then");
        field.falls_back = false;
        let mut balance = Balance::default();
        let none = |_| Load::default();
        let chosen = balance.choose(&field, asked(&Aim::Reads, None), policy, Time::ZERO, none);
        assert_eq!(chosen, Err(NoServer::Replica));
        let write = balance.choose(&field, asked(&Aim::Primary, None), policy, Time::ZERO, none);
        assert_eq!(write, Ok(BackendId(0)));
        field.candidates.remove(0);
        let write = balance.choose(&field, asked(&Aim::Primary, None), policy, Time::ZERO, none);
        assert_eq!(write, Err(NoServer::Primary));
    }
}

#[test]
fn equals_take_turns() {
    for policy in ALL {
        let field = field(&[100, 100]);
        let counts = shares(&field, policy, 1000);
        let even = if policy == Policy::LeastLag { [0, 1000, 0] } else { [0, 500, 500] };
        let off = if policy == Policy::WeightedRandom { 60 } else { 0 };
        for (count, even) in counts.iter().zip(even) {
            assert!(count.abs_diff(even) <= off, "{policy:?}: {counts:?}");
        }
    }
}

#[test]
fn weights_are_shares() {
    for policy in [Policy::WeightedRandom, Policy::RoundRobin] {
        let counts = shares(&field(&[300, 100, 0]), policy, 4000);
        assert!(counts[1].abs_diff(3000) < 120, "{policy:?}: {counts:?}");
        assert_eq!(counts[3], 0, "no weight, no share");
        // Only where nobody else is there.
        assert_eq!(shares(&field(&[0]), policy, 5), [0, 5]);
    }
    let field = field(&[300, 100]);
    let mut balance = Balance::default();
    let busy = [0, 5, 1];
    let chosen = |balance: &mut Balance, policy, loads: &[u32]| {
        balance
            .choose(&field, asked(&Aim::Reads, None), policy, Time::ZERO, self::loads(loads))
            .unwrap()
            .0
    };
    // Three times the weight carries three times as much: 6/3 is not less than 2/1.
    assert_eq!(chosen(&mut balance, Policy::LeastOutstanding, &[0, 4, 1]), 1);
    assert_eq!(chosen(&mut balance, Policy::LeastOutstanding, &[0, 6, 1]), 2);
    assert_eq!(chosen(&mut balance, Policy::LeastConnections, &busy), 1);
    assert_eq!(chosen(&mut balance, Policy::LeastLag, &busy), 1, "10 ms behind, and not 20");
}

#[test]
fn the_fastest_is_who_answers_soon_and_who_was_slow_is_tried_again() {
    let field = field(&[100, 100]);
    let mut balance = Balance::default();
    let mut known = [Load::default(); 3];
    let second = Duration::from_secs(1);
    let mut now = Time::ZERO + second;
    known[1].on_answer(Duration::from_millis(50), now);
    known[2].on_answer(Duration::from_millis(2), now);
    let choose = |balance: &mut Balance, known: &[Load; 3], now| {
        let load = |id: BackendId| known[id.index()];
        balance.choose(&field, asked(&Aim::Reads, None), Policy::Fastest, now, load).unwrap().0
    };
    for _ in 0..5 {
        assert_eq!(choose(&mut balance, &known, now), 2);
    }
    // One slow answer counts at once; quick ones make up for it slowly.
    known[2].on_answer(Duration::from_millis(80), now);
    assert_eq!(choose(&mut balance, &known, now), 1);
    known[2].on_answer(Duration::from_millis(2), now);
    assert_eq!(choose(&mut balance, &known, now), 1);
    known[2].outstanding = 0;
    // What was heard long ago counts little.
    for _ in 0..60 {
        now = now + second;
        known[1].on_answer(Duration::from_millis(50), now);
    }
    assert_eq!(choose(&mut balance, &known, now), 2);
    // Those who wait there count.
    known[2].on_answer(Duration::from_millis(40), now);
    known[2].outstanding = 3;
    assert_eq!(choose(&mut balance, &known, now), 1);
}

#[test]
fn a_hint_narrows_the_choice_and_the_primary_is_left() {
    let field = field(&[100, 100]);
    let mut balance = Balance::default();
    let mut chosen = |wish: Wish| {
        let aim = Aim::Wished(Box::new(wish));
        choose(&mut balance, &field, &aim, Policy::RoundRobin)
    };
    let none = Wish::default;
    let named = |name: &str| Wish { backend: Some(name.as_bytes().into()), ..none() };
    for _ in 0..4 {
        assert_eq!(chosen(named("db2")), Some(2));
        assert_eq!(chosen(Wish { max_lag_ms: Some(10), ..none() }), Some(1));
        assert_eq!(chosen(Wish { fenced: true, ..none() }), Some(2));
        assert_eq!(chosen(Wish { max_lag_ms: Some(9), ..none() }), Some(0));
        assert_ne!(chosen(named("db9")), Some(0), "any, where there is none of that name");
    }
    let mut always = field.clone();
    always.candidates[0].unfit = None;
    let counts = shares(&always, Policy::RoundRobin, 300);
    assert_eq!(counts, [100, 100, 100]);
    let replica = Aim::Wished(Box::new(Wish { replica: true, ..none() }));
    for _ in 0..10 {
        assert_ne!(choose(&mut balance, &always, &replica, Policy::RoundRobin), Some(0));
    }
}

#[test]
fn who_has_just_failed_is_left_out() {
    let field = field(&[100, 100]);
    let mut balance = Balance::default();
    for policy in ALL {
        for failed in [1, 2] {
            let avoids = Some(BackendId(failed));
            let none = |_| Load::default();
            let chosen =
                balance.choose(&field, asked(&Aim::Reads, avoids), policy, Time::ZERO, none);
            assert_eq!(chosen, Ok(BackendId(3 - failed)), "{policy:?}");
        }
    }
}

/// What people are told is what happens: who is drawn is chosen, and nobody else.
#[test]
fn who_is_chosen_is_who_was_left() {
    let mut seed = 7_u64;
    let mut dice = |sides: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % sides
    };
    let mut kinds = [0; 5];
    for _ in 0..2000 {
        let mut field = field(&[100, 0, 50]);
        field.falls_back = dice(2) == 0;
        for it in &mut field.candidates {
            it.unfit =
                if dice(3) == 0 { Some(Unfit::Lags) } else { it.unfit.filter(|_| dice(2) == 0) };
            it.weight *= u32::from(dice(4) > 0);
        }
        if dice(8) == 0 {
            field.candidates.remove(0);
        }
        let wish = Wish {
            backend: (dice(4) == 0).then(|| b"db3"[..].into()),
            max_lag_ms: (dice(3) == 0).then_some(20),
            replica: dice(3) == 0,
            fenced: dice(6) == 0,
            consistency: None,
        };
        let aim = match dice(6) {
            0 => Aim::Primary,
            1 => Aim::Reads,
            _ => Aim::Wished(Box::new(wish)),
        };
        let avoids = (dice(4) == 0).then_some(BackendId(1));
        let none = |_| Load::default();
        let mut balance = Balance::default();
        let mut chosen: Vec<_> = (0..40)
            .map(|_| {
                let policy = Policy::WeightedRandom;
                balance.choose(&field, asked(&aim, avoids), policy, Time::ZERO, none).ok()
            })
            .collect();
        chosen.sort_unstable();
        chosen.dedup();
        let (kind, expected) = match field.draw(&aim, avoids, Able::ANY) {
            Draw::Primary(it) => (0, vec![Some(it.backend)]),
            Draw::Named(it) => (1, vec![Some(it.backend)]),
            Draw::Fallback(it) => (2, vec![Some(it.backend)]),
            Draw::Nobody(_) => (3, vec![None]),
            Draw::Among(among) => {
                let left = field.candidates.iter().filter(|it| among.takes(it));
                (4, left.map(|it| Some(it.backend)).collect())
            }
        };
        kinds[kind] += 1;
        assert_eq!(chosen, expected, "{field:?} {aim:?} {avoids:?}");
    }
    assert!(kinds.iter().all(|count| *count > 20), "{kinds:?}");
}
