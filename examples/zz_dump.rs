use fastpix::checkpoint::*;
use std::path::Path;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let mut file = match TensorFile::open(Path::new(&args[1])) {
        Ok(f) => f,
        Err(e) => {
            println!("ERROR {e}");
            return;
        }
    };
    println!(
        "{} {} tensors {:?}",
        file.format(),
        file.tensors().len(),
        file.facts()
    );
    let list = file.tensors();
    if args.len() > 2 {
        let mut other = TensorFile::open(Path::new(&args[2])).unwrap();
        let prefix = args.get(3).cloned().unwrap_or_default();
        let o = other.tensors();
        let (mut same, mut missing) = (0, vec![]);
        for (i, t) in o.iter().enumerate() {
            let n = format!("{prefix}{}", t.name);
            let Some(j) = list.iter().position(|l| {
                l.name == n || l.full_name.as_deref() == Some(&n) || l.name == format!("{n}:0")
            }) else {
                missing.push(n);
                continue;
            };
            assert_eq!(list[j].shape, t.shape);
            assert_eq!(list[j].element_type, t.element_type);
            let (a, b) = (file.read(j).unwrap(), other.read(i).unwrap());
            assert!(a == b, "{n}");
            same += 1;
        }
        println!(
            "same {same} of {}, missing {:?}",
            o.len(),
            missing.iter().take(5).collect::<Vec<_>>()
        );
    } else {
        for (i, t) in list.iter().enumerate() {
            let r = file.read(i);
            println!(
                "{} {:?} {} {:?} {:?}",
                t.name,
                t.full_name,
                t.element_type,
                t.shape,
                r.map(|r| r.values.into_iter().take(3).collect::<Vec<_>>())
                    .map_err(|e| e.to_string())
            );
        }
    }
    match Checkpoint::inspect(Path::new(&args[1])) {
        Ok(i) => println!(
            "inspect {:?} {} ignored {:?}",
            i.problem,
            i.tensors.len(),
            i.ignored.len()
        ),
        Err(e) => println!("inspect ERROR {e}"),
    }
}
