use chela_engine::formats::{
    Config, DType,
    gguf::{self, Gguf, Writer},
};
use proptest::prelude::*;

use crate::fixture;

/// Oracle: the GGUFWriter of the PyPI package gguf 0.19.0 wrote the file.
#[test]
fn values_of_every_type_are_read() {
    let file = std::fs::read(fixture("gguf/types.gguf")).unwrap();
    let header = gguf::parse(&file).unwrap();
    assert_eq!((header.version, header.alignment), (3, 64));
    let config = Config::Gguf(header.metadata(&file));
    assert_eq!(config.uint("b.uint8").unwrap(), Some(200));
    assert_eq!(config.float("b.int8").unwrap(), Some(-100.0));
    assert_eq!(config.uint("b.uint16").unwrap(), Some(60000));
    assert_eq!(config.float("b.int16").unwrap(), Some(-30000.0));
    assert_eq!(config.float("b.int32").unwrap(), Some(-2e9));
    assert_eq!(config.uint("b.uint64").unwrap(), Some(u64::MAX));
    assert_eq!(config.float("b.int64").unwrap(), Some(-(2f64.powi(63))));
    assert_eq!(config.float("b.float64").unwrap(), Some(1e300));
    let nested = config.list("b.nested").unwrap().unwrap();
    assert_eq!(format!("{:?}", nested.iter().collect::<Vec<_>>()).matches("Gguf").count(), 2);
    let bools = config.list("b.bools").unwrap().unwrap();
    assert_eq!(format!("{:?}", bools.iter().collect::<Vec<_>>()), "[Bool(true), Bool(false), Bool(true)]");
    assert_eq!(config.uint("b.absent").unwrap(), None);
    let error = config.uint("b.nested").unwrap_err().to_string();
    assert_eq!(error, "b.nested: expected a whole number, found a list of 2");
    let error = config.str("b.uint8").unwrap_err().to_string();
    assert_eq!(error, "b.uint8: expected text, found 200");
}

/// Oracle: the GGUFWriter of the PyPI package gguf 0.19.0 wrote values.gguf.
#[test]
fn writer_writes_what_the_reference_writes() {
    let mut writer = Writer::new("values");
    writer.uint("a.uint32", 4_000_000_000);
    writer.float("a.float32", 0.1);
    writer.bool("a.true", true);
    writer.bool("a.false", false);
    writer.str("a.string", "grüße 日本");
    writer.strs("a.strings", ["", "a", "ü"]);
    writer.ints("a.ints", [-1, 0, 2_000_000_000]);
    writer.floats("a.floats", [0.5, -1e30]);
    let first: Vec<u8> = (0..6).flat_map(|n| (n as f32).to_le_bytes()).collect();
    writer.tensor("first", DType::F32, &[2, 3], first).unwrap();
    writer.tensor("second", DType::Q8_0, &[1, 32], vec![0; 34]).unwrap();
    let mut file = Vec::new();
    writer.write(&mut file).unwrap();
    assert_eq!(file, std::fs::read(fixture("gguf/values.gguf")).unwrap());
}

#[test]
fn writer_refuses_data_of_another_size() {
    let mut writer = Writer::new("x");
    let error = writer.tensor("t", DType::Q4_0, &[2, 32], vec![0; 35]).unwrap_err();
    assert_eq!(error.to_string(), "data of tensor \"t\": expected 36 bytes, found 35");
    let error = writer.tensor("t", DType::Q4_0, &[2, 33], vec![0; 36]).unwrap_err();
    assert!(error.to_string().contains("whole Q4_0 blocks (32 elements)"), "{error}");
    let error = writer.tensor("t", DType::U8, &[1], vec![0; 1]).unwrap_err();
    assert!(error.to_string().contains("GGUF has no such type"), "{error}");
}

/// Oracle: the GGUFWriter of the PyPI package gguf 0.19.0, with `split_max_tensors=2`.
#[test]
fn any_part_opens_the_whole_of_a_split_model() {
    for part in 1..=2 {
        let gguf = Gguf::open(&fixture(&format!("gguf/split-0000{part}-of-00002.gguf"))).unwrap();
        assert_eq!(gguf.files().count(), 2);
        assert_eq!(Config::Gguf(gguf.metadata()).str("general.architecture").unwrap(), Some("split"));
        for (value, name) in [(0.0, "one"), (1.0, "two"), (2.0, "three")] {
            assert_eq!(gguf.tensor(name).unwrap().to_f32().unwrap(), [value; 4]);
        }
        assert!(gguf.tensor("four").is_none());
        assert_eq!(gguf.tensors().count(), 3);
    }
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let part = |n: usize| fixture(&format!("gguf/split-0000{n}-of-00002.gguf"));
    let copy = |n: usize, name: &str| {
        let to = folder.path().join(name);
        std::fs::copy(part(n), &to).unwrap();
        to
    };
    let first = copy(1, "m-00001-of-00002.gguf");
    let error = Gguf::open(&first).unwrap_err().to_string();
    assert!(error.contains("m-00002-of-00002.gguf: cannot open"), "{error}");
    copy(1, "m-00002-of-00002.gguf");
    let error = Gguf::open(&first).unwrap_err().to_string();
    assert!(error.contains("m-00002-of-00002.gguf: split.no: expected 1, found 0"), "{error}");
    let alone = copy(1, "alone.gguf");
    let error = Gguf::open(&alone).unwrap_err().to_string();
    assert!(error.contains("expected NAME-00001-of-00002.gguf, since it is one of 2 parts"), "{error}");
}

fn dtypes() -> impl Strategy<Value = DType> {
    use DType::*;
    prop::sample::select(vec![F32, F16, BF16, Q4_0, Q5_1, Q8_0, Q4K, Q6K, Iq4Xs, Mxfp4, I8])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(
        tensors in prop::collection::btree_map(
            "[a-z.]{1,12}", (dtypes(), prop::collection::vec(0usize..4, 0..3), 0usize..3), 0..6),
        texts in prop::collection::vec("\\PC{0,8}", 0..5),
        ints in prop::collection::vec(any::<i32>(), 0..5),
    ) {
        let mut writer = Writer::new("x");
        writer.strs("texts", &texts);
        writer.ints("ints", ints.iter().copied());
        let mut expected = Vec::new();
        for (name, (dtype, outer, blocks)) in &tensors {
            let mut shape = outer.clone();
            shape.push(blocks * dtype.block_len());
            let size = outer.iter().product::<usize>() * blocks * dtype.block_bytes();
            let data: Vec<u8> = (0..size).map(|n| n as u8).collect();
            writer.tensor(name, *dtype, &shape, data.clone()).unwrap();
            expected.push((name, *dtype, shape, data));
        }
        let mut file = Vec::new();
        writer.write(&mut file).unwrap();
        let header = gguf::parse(&file).unwrap();
        let config = Config::Gguf(header.metadata(&file));
        prop_assert_eq!(config.strs("texts").unwrap().unwrap(), texts);
        let found = config.list("ints").unwrap().unwrap();
        let found: Option<Vec<f64>> = found.iter().map(|value| value.as_float()).collect();
        prop_assert_eq!(found.unwrap(), ints.iter().map(|n| f64::from(*n)).collect::<Vec<_>>());
        prop_assert_eq!(header.tensors.len(), expected.len());
        for (name, dtype, shape, data) in expected {
            let info = &header.tensors[name];
            prop_assert_eq!((info.dtype, &info.shape), (dtype, &shape));
            prop_assert_eq!(&file[info.bytes.clone()], &data);
        }
    }
}
