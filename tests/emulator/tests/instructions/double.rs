//! f64 in every direction of rounding, against integers of 128 bits and the neighbours of the nearest value.

use crate::run;

const DIRECTIONS: [&str; 3] = ["rz", "rm", "rp"];

/// The f64 that a direction gives for a numerator over 2^`places`, for magnitudes that are normal.
fn directed(exact: i128, places: i32, direction: &str) -> f64 {
    let magnitude = exact.unsigned_abs();
    let drop = (128 - magnitude.leading_zeros()).saturating_sub(53);
    let kept = magnitude >> drop;
    let away = match direction {
        "rz" => false,
        "rm" => exact < 0,
        _ => exact > 0,
    };
    let kept = kept + u128::from(away && kept << drop != magnitude);
    let value = kept as f64 * 2f64.powi(drop as i32 - places);
    if exact < 0 { -value } else { value }
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn sums_products_and_both_at_once() {
    // Integers times 2^-20, so that everything is an integer times 2^-40.
    let mut s = crate::Sequence(3);
    let mut pool: Vec<i64> = vec![
        0,
        1,
        -1,
        3,
        1 << 52,
        -(1 << 52),
        (1 << 53) - 1,
        1 - (1 << 53),
    ];
    pool.extend((0..12).map(|i| (s.draw() as i64) >> (12 + i)));
    let value = |n: i64| (n as f64) * 2f64.powi(-20);
    let triples: Vec<[i64; 3]> = pool
        .iter()
        .flat_map(|&a| pool.iter().map(move |&b| (a, b)))
        .enumerate()
        .map(|(i, (a, b))| [a, b, pool[i % pool.len()]])
        .collect();
    let operands: Vec<[u64; 3]> = triples
        .iter()
        .map(|t| t.map(|n| value(n).to_bits()))
        .collect();
    type Exact = fn([i128; 3]) -> i128;
    let cases: [(&str, &str, Exact); 4] = [
        ("add", "%a, %b", |[a, b, _]| (a + b) << 20),
        ("sub", "%a, %b", |[a, b, _]| (a - b) << 20),
        ("mul", "%a, %b", |[a, b, _]| a * b),
        ("fma", "%a, %b, %c", |[a, b, c]| a * b + (c << 20)),
    ];
    for direction in DIRECTIONS {
        for (name, list, exact) in cases {
            let body = format!("{name}.{direction}.f64 %d, {list};");
            let found = run(&body, &[64, 64, 64], 64, &operands);
            for (t, found) in triples.iter().zip(found) {
                let exact = exact(t.map(i128::from));
                let found = f64::from_bits(found);
                assert_eq!(found, directed(exact, 40, direction), "{body} {t:?}");
                let products = t[0] == 0 || t[1] == 0;
                // A sum that cancels is negative only when rounding down.
                if exact == 0
                    && !(name == "mul"
                        || name == "fma" && products && t[2] == 0
                        || *t == [0; 3]
                        || t[0] == 0 && t[1] == 0)
                {
                    assert_eq!(found.is_sign_negative(), direction == "rm", "{body} {t:?}");
                }
            }
        }
    }
}

#[test]
fn beyond_the_largest_and_below_the_smallest() {
    let (max, tiny, least) = (f64::MAX, f64::from_bits(1), f64::MIN_POSITIVE);
    let inf = f64::INFINITY;
    // Operation, operands, and the results of rz, rm and rp.
    let cases: [(&str, &[f64], [f64; 3]); 22] = [
        ("add", &[max, max], [max, max, inf]),
        ("add", &[-max, -max], [-max, -inf, -max]),
        ("add", &[max, tiny], [max, max, inf]),
        (
            "add",
            &[-1.0, tiny],
            [-1f64.next_down(), -1.0, -1f64.next_down()],
        ),
        (
            "sub",
            &[1.0, tiny],
            [1f64.next_down(), 1f64.next_down(), 1.0],
        ),
        ("add", &[inf, -max], [inf, inf, inf]),
        ("mul", &[max, 2.0], [max, max, inf]),
        ("mul", &[max, -2.0], [-max, -inf, -max]),
        ("mul", &[tiny, tiny], [0.0, 0.0, tiny]),
        ("mul", &[tiny, -tiny], [-0.0, -tiny, -0.0]),
        ("mul", &[tiny, 0.5], [0.0, 0.0, tiny]),
        (
            "mul",
            &[least, 1f64.next_down()],
            [least.next_down(), least.next_down(), least],
        ),
        ("mul", &[0.0, -3.0], [-0.0, -0.0, -0.0]),
        ("fma", &[max, max, -inf], [-inf, -inf, -inf]),
        ("fma", &[max, 2.0, -max], [max, max, max]),
        ("fma", &[tiny, tiny, 0.0], [0.0, 0.0, tiny]),
        ("fma", &[tiny, tiny, -tiny], [-0.0, -tiny, -0.0]),
        ("fma", &[1.0, 1.0, -1.0], [0.0, -0.0, 0.0]),
        ("div", &[max, 0.5], [max, max, inf]),
        ("div", &[tiny, 3.0], [0.0, 0.0, tiny]),
        ("div", &[-tiny, 2.0], [-0.0, -tiny, -0.0]),
        ("div", &[1.0, 0.0], [inf, inf, inf]),
    ];
    for (name, values, wanted) in cases {
        let mut o = bits(values);
        o.resize(3, 0);
        let list = ["%a", "%b", "%c"][..values.len()].join(", ");
        for (direction, wanted) in DIRECTIONS.iter().zip(wanted) {
            let body = format!("{name}.{direction}.f64 %d, {list};");
            let found = run(&body, &[64, 64, 64], 64, &[[o[0], o[1], o[2]]]);
            assert_eq!(found, [wanted.to_bits()], "{body} {values:?}");
        }
    }
}

/// The quotient is between its roundings, which are the same value or neighbours; so is the root.
#[test]
fn quotients_and_roots_are_enclosed() {
    let mut s = crate::Sequence(8);
    let operands: Vec<[u64; 3]> = (0..600)
        .map(|_| {
            let mut draw = || (s.draw() >> 11) as f64;
            [draw().to_bits(), draw().to_bits(), 0]
        })
        .collect();
    let integer = |bits: u64| f64::from_bits(bits) as u128;
    // The value as an integer over 2^places.
    let scaled = |v: f64, places: i32| {
        let scaled = v * 2f64.powi(places);
        assert_eq!(scaled.fract(), 0.0);
        scaled as u128
    };
    let results = |body: &str| {
        let all = |d: &str| run(&body.replace("DIR", d), &[64, 64, 64], 64, &operands);
        (all("rm"), all("rp"), all("rz"))
    };
    let (low, high, cut) = results("div.DIR.f64 %d, %a, %b;");
    let mut apart = 0;
    for (i, o) in operands.iter().enumerate() {
        let (l, h) = (f64::from_bits(low[i]), f64::from_bits(high[i]));
        let (a, b) = (integer(o[0]), integer(o[1]));
        assert_eq!(cut[i], low[i]);
        assert!(h == l || h == l.next_up(), "{l:e} {h:e}");
        apart += u32::from(h != l);
        // l b <= a <= h b exactly, where the places of the quotient leave room for it.
        let places = 52 - l.log2().floor() as i32;
        let exact = |v: f64| scaled(v, places).checked_mul(b);
        let (Some(lb), Some(hb)) = (exact(l), exact(h)) else {
            continue;
        };
        if places > a.leading_zeros() as i32 || places < 0 {
            continue;
        }
        assert!(lb <= a << places && a << places <= hb, "{a} / {b}");
        assert_eq!(h == l, lb == a << places);
    }
    assert!(apart > 500, "only {apart} quotients were rounded");
    let (low, high, cut) = results("sqrt.DIR.f64 %d, %a;");
    for (i, o) in operands.iter().enumerate() {
        let (l, h) = (f64::from_bits(low[i]), f64::from_bits(high[i]));
        assert_eq!(cut[i], low[i]);
        assert!(h == l || h == l.next_up(), "{l:e} {h:e}");
        // Below 2^27 the root has at least 26 places: its square needs 106 bits.
        let places = 52 - l.log2().floor() as i32;
        let (square_low, square_high) = (scaled(l, places).pow(2), scaled(h, places).pow(2));
        let a = integer(o[0]) << (2 * places);
        assert!(square_low <= a && a <= square_high, "{l:e}");
        assert_eq!(h == l, square_low == a);
    }
    // Against a known third: 1/3 lies between two neighbours.
    let third = 1.0 / 3.0f64;
    for (direction, wanted) in [("rm", third), ("rz", third), ("rp", third.next_up())] {
        let found = run(
            &format!("rcp.{direction}.f64 %d, %a;"),
            &[64],
            64,
            &[[3f64.to_bits(), 0, 0]],
        );
        assert_eq!(found, [wanted.to_bits()]);
        let found = run(
            &format!("rcp.{direction}.f64 %d, %a;"),
            &[64],
            64,
            &[[(-3f64).to_bits(), 0, 0]],
        );
        let wanted = match direction {
            "rm" => -third.next_up(),
            _ => -third,
        };
        assert_eq!(found, [wanted.to_bits()], "{direction}");
    }
}
