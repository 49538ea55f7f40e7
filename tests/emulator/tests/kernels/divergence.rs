//! divergence.cu: the same control flow, one thread at a time.

use crate::device::{Device, Numbers, arg, each, line};

#[test]
fn loops_of_different_lengths() {
    let x: Vec<u32> = (1..=200).collect();
    let expected: Vec<u32> = (x.iter())
        .map(|&v| {
            std::iter::successors(Some(v), |&v| match v {
                1 => None,
                v if v % 2 == 1 => Some(3 * v + 1),
                v => Some(v / 2),
            })
            .count() as u32
                - 1
        })
        .collect();
    each("divergence", |d| {
        let (from, to) = (d.put(&x), d.room::<u32>(200));
        d.run("collatz", line(4, 64), &[arg(from), arg(to), arg(200u32)]);
        d.equal("steps", &d.get::<u32>(to, 200), &expected);
    });
}

fn maze(v: i32) -> i32 {
    let mut sum = 0;
    for a in 0..8 {
        if (v + a) % 5 == 0 {
            continue;
        }
        for b in 0..a {
            sum += a * b;
            if sum % 7 == v % 7 {
                break;
            }
            if sum > 200 + v {
                return -sum;
            }
        }
        match (v ^ a) % 6 {
            0 => sum += 11,
            1 => sum += 10,
            2 => loop {
                sum += v % 3 + 1;
                if sum % 4 == 0 {
                    break;
                }
            },
            3 => sum ^= a,
            4 if v % 11 == 3 => return sum,
            4 => {}
            _ => sum -= 2,
        }
    }
    sum
}

fn two_entries(mut v: i32) -> i32 {
    let (mut count, mut at_odd) = (0, v % 2 != 0);
    loop {
        if at_odd {
            v -= 3;
            count += 100;
            at_odd = !(v > 50 && v % 2 == 0);
            if at_odd && v <= 0 {
                break;
            }
        } else {
            v /= 2;
            count += 1;
            at_odd = v <= 100;
            if at_odd && v % 3 == 0 {
                break;
            }
        }
    }
    count * 1000 + v
}

fn one_by_one(d: &Device, kernel: &str, x: &[i32], function: fn(i32) -> i32) {
    let (from, to) = (d.put(x), d.room::<i32>(x.len()));
    let shape = line(x.len().div_ceil(64) as u32, 64);
    let arguments = [arg(from), arg(to), arg(x.len() as u32)];
    d.run(kernel, shape, &arguments);
    let expected: Vec<i32> = x.iter().copied().map(function).collect();
    d.equal(kernel, &d.get::<i32>(to, x.len()), &expected);
}

#[test]
fn breaks_returns_and_switches() {
    // Not negative, and no remainder of 1 by 3: the loop of case 2 would add 2 to odd sums for ever.
    let mut x = Numbers::new(70).integers(220, 0, 500);
    x.retain(|v| v % 3 != 1);
    each("divergence", |d| one_by_one(d, "maze", &x, maze));
}

#[test]
fn loops_with_two_entries() {
    let x = Numbers::new(71).integers(150, -20, 3000);
    each("divergence", |d| {
        one_by_one(d, "two_entries", &x, two_entries);
    });
}

#[test]
fn votes_of_half_a_warp() {
    let x = Numbers::new(72).integers(96, -1000, 1000);
    let mut expected = Vec::new();
    for warp in x.chunks(32) {
        let ballot = |parity: usize| {
            (0..32).fold(0u32, |mask, lane| {
                mask | u32::from(lane % 2 == parity && warp[lane] > 0) << lane
            })
        };
        let odd = ballot(1).wrapping_add(warp[31] as u32);
        let even = ballot(0) ^ warp[0] as u32;
        let lanes = [even, odd];
        let count = lanes.iter().map(|r| r % 2 * 16).sum::<u32>();
        expected.extend((0..32).map(|lane| lanes[lane % 2].wrapping_add(count)));
    }
    each("divergence", |d| {
        let (from, to) = (d.put(&x), d.room::<u32>(96));
        d.run("split_votes", line(1, 96), &[arg(from), arg(to)]);
        d.equal("votes", &d.get::<u32>(to, 96), &expected);
    });
}

#[test]
fn threads_of_a_warp_wait_for_one_another() {
    let expected: Vec<i32> = (0..32).map(|lane| lane * 3).collect();
    each("divergence", |d| {
        let to = d.room::<i32>(32);
        d.run("hand_over", line(1, 32), &[arg(to)]);
        d.equal("lanes", &d.get::<i32>(to, 32), &expected);
    });
}
