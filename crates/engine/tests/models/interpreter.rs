use chela_engine::formats::{FormatError, Source};
use chela_engine::interpreter::Interpreter;
use chela_engine::spec::{ModelSpec, SpecError};
use chela_kernels::Kernels;

use crate::fixture::{CASES, Expected, difference, open};

#[derive(Debug)]
enum Error {
    Spec(#[allow(dead_code)] SpecError),
    Format(#[allow(dead_code)] FormatError),
}

impl From<SpecError> for Error {
    fn from(error: SpecError) -> Self {
        Self::Spec(error)
    }
}

pub fn interpreter(source: &Source, spec: ModelSpec) -> Interpreter {
    let names = spec.names.clone();
    Interpreter::new(spec, |role| {
        source.need_tensor(&names.name(role)).and_then(|t| t.to_f32()).map_err(Error::Format)
    })
    .unwrap()
}

#[test]
fn interpreter_agrees_with_transformers_layer_by_layer() {
    for case in CASES {
        let (source, spec) = open(case);
        let expected = Expected::open(case);
        let trace = interpreter(&source, spec).run(&expected.prompt);
        let sampled = |rows: &[Vec<f32>]| rows.iter().step_by(expected.stride).cloned().collect::<Vec<_>>();
        for (i, tap) in trace.taps.iter().enumerate() {
            let d = difference(&sampled(tap), &expected.rows(&format!("tap.{i}")));
            assert!(d < 1e-5, "{case}: tap {i} differs by {d}");
        }
        let d = difference(&sampled(&trace.logits), &expected.rows("logits"));
        assert!(d < 1e-5, "{case}: logits differ by {d}");
    }
}

#[test]
fn interpreter_continues_greedily_as_transformers_did() {
    for case in CASES {
        let expected = Expected::open(case);
        let (source, spec) = open(case);
        let interpreter = interpreter(&source, spec);
        let mut tokens = expected.prompt.clone();
        tokens.extend(&expected.greedy);
        let trace = interpreter.run(&tokens);
        for (i, id) in expected.greedy.iter().enumerate() {
            let logits = &trace.logits[expected.prompt.len() - 1 + i];
            assert_eq!(Kernels::detect().argmax(logits), Some(*id as usize), "{case}: token {i}");
        }
    }
}
