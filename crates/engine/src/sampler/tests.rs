use proptest::prelude::*;

use super::*;

fn sampler(params: SamplingParams, prompt: &[u32]) -> Sampler {
    Sampler::new(params, prompt, vec![], vec![9], 7, Kernels::detect())
}

fn processed(s: &Sampler, logits: &[f32]) -> Vec<f32> {
    let mut logits = logits.to_vec();
    s.process(&mut logits);
    logits
}

#[test]
fn greedy_takes_the_first_of_the_largest() {
    let s = sampler(SamplingParams::greedy(), &[]);
    assert_eq!(s.sample(&mut [0.0, 3.0, 3.0, -1.0], None).token, 1);
    assert_eq!(s.sample(&mut [f32::NEG_INFINITY; 3], None).token, 0);
}

#[test]
fn penalties_count_what_vllm_counts() {
    let mut s = sampler(
        SamplingParams {
            repetition_penalty: 2.0,
            frequency_penalty: 0.5,
            presence_penalty: 0.25,
            ..SamplingParams::greedy()
        },
        &[0, 1],
    );
    s.accept(1);
    s.accept(1);
    s.accept(2);
    // 0: prompt only; 1: prompt and twice in the output; 2: once in the output; 3: unseen.
    assert_eq!(processed(&s, &[4.0, -4.0, 4.0, 4.0]), [2.0, -8.0 - 1.0 - 0.25, 2.0 - 0.5 - 0.25, 4.0]);
}

#[test]
fn masks_and_biases_apply_in_order() {
    let inf = f32::NEG_INFINITY;
    let params = SamplingParams {
        allowed_token_ids: Some(vec![1, 2, 9]),
        logit_bias: vec![(1, 5.0), (0, 100.0)],
        min_tokens: 1,
        ..SamplingParams::greedy()
    };
    let mut s = Sampler::new(params, &[], vec![vec![1, 2], vec![3]], vec![9], 0, Kernels::detect());
    let logits = [0.0; 10];
    let expected = [inf, 5.0, 0.0, inf, inf, inf, inf, inf, inf, inf];
    assert_eq!(processed(&s, &logits), expected);
    s.accept(1);
    // Now the bad word's second token is excluded, and the minimum length is reached.
    assert_eq!(processed(&s, &logits), [inf, 5.0, inf, inf, inf, inf, inf, inf, inf, 0.0]);
}

#[test]
fn a_grammar_mask_excludes_what_it_does_not_name() {
    let s = sampler(SamplingParams { logprobs: Some(2), ..SamplingParams::greedy() }, &[]);
    let got = s.sample(&mut [9.0, 1.0, 2.0, 8.0], Some(&[0b0110]));
    assert_eq!(got.token, 2);
    let logprobs = got.logprobs.unwrap();
    assert_eq!(logprobs.top.iter().map(|c| c.token).collect::<Vec<_>>(), [2, 1]);
    assert!((logprobs.chosen.logprob - (-(1.0 + (-1f32).exp()).ln())).abs() < 1e-6);
}

#[test]
fn logprobs_are_raw_and_ranked() {
    let params = SamplingParams { logprobs: Some(2), temperature: 0.5, ..SamplingParams::default() };
    let mut s = sampler(SamplingParams { logit_bias: vec![(3, 100.0)], ..params }, &[]);
    s.accept(0);
    let got = s.sample(&mut [1.0, 2.0, 3.0, 0.0], None).logprobs.unwrap();
    let z = [1f32, 2., 3., 0.].iter().map(|l| l.exp()).sum::<f32>().ln();
    assert_eq!((got.chosen.token, got.chosen.rank), (3, 4));
    assert!((got.chosen.logprob + z).abs() < 1e-6);
    assert_eq!(got.top.iter().map(|c| (c.token, c.rank)).collect::<Vec<_>>(), [(2, 1), (1, 2)]);
    assert!((got.top[0].logprob - (3.0 - z)).abs() < 1e-6);
}

#[test]
fn draws_depend_on_key_and_index_alone() {
    let params = SamplingParams { temperature: 1.0, ..SamplingParams::default() };
    let logits = vec![0.0f32; 1000];
    let tokens = |key: u64| {
        let mut s = Sampler::new(params.clone(), &[], vec![], vec![], key, Kernels::detect());
        (0..50)
            .map(|_| {
                let token = s.sample(&mut logits.clone(), None).token;
                s.accept(token);
                token
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(tokens(1), tokens(1));
    assert_ne!(tokens(1), tokens(2));
    assert!(tokens(1).iter().collect::<BTreeSet<_>>().len() > 40);
}

#[test]
fn draws_follow_the_distribution() {
    let params = SamplingParams { temperature: 2.0, ..SamplingParams::default() };
    let weights = [0.5f32, 0.25, 0.125, 0.125];
    let logits = weights.map(|w| w.ln() * 2.0);
    let mut counts = [0usize; 4];
    for i in 0..20_000 {
        counts[draw_token(Kernels::detect(), &params, &mut logits.clone(), uniform(3, i)) as usize] += 1;
    }
    for (count, weight) in counts.iter().zip(weights) {
        assert!((*count as f32 / 20_000.0 - weight).abs() < 0.015, "{counts:?}");
    }
}

#[test]
fn out_of_range_parameters_are_named() {
    let bad = |params: SamplingParams| params.validate(10).unwrap_err().to_string();
    let base = SamplingParams::default;
    assert_eq!(bad(SamplingParams { top_p: 0.0, ..base() }), "top_p must be in (0, 1], got 0");
    assert_eq!(
        bad(SamplingParams { temperature: f32::NAN, ..base() }),
        "temperature must be in [0, 2], got NaN"
    );
    assert_eq!(
        bad(SamplingParams { min_tokens: 3, max_tokens: Some(2), ..base() }),
        "min_tokens must be at most max_tokens = 2, got 3"
    );
    assert_eq!(
        bad(SamplingParams { logit_bias: vec![(10, 1.0)], ..base() }),
        "logit_bias must be token ids below 10, got 10"
    );
    assert!(bad(SamplingParams { stop: vec![String::new()], ..base() }).starts_with("stop must"));
    base().validate(10).unwrap();
}

/// Which tokens vLLM's definitions keep, by full sorts.
fn kept_by_definition(params: &SamplingParams, logits: &[f32]) -> Vec<usize> {
    let scaled: Vec<f64> = logits.iter().map(|l| f64::from(*l / params.temperature)).collect();
    let max = scaled.iter().copied().fold(f64::MIN, f64::max);
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| scaled[*b].total_cmp(&scaled[*a]).then(a.cmp(b)));
    order.retain(|i| (scaled[*i] - max).exp() >= f64::from(params.min_p) - 1e-12);
    if params.top_k > 0 && (params.top_k as usize) < order.len() {
        let kth = scaled[order[params.top_k as usize - 1]];
        order.retain(|i| scaled[*i] >= kth);
    }
    let total: f64 = order.iter().map(|i| (scaled[*i] - max).exp()).sum();
    let mut before = 0.0;
    order.retain(|i| {
        let keep = before < f64::from(params.top_p) * total - 1e-9;
        before += (scaled[*i] - max).exp();
        keep || params.top_p >= 1.0
    });
    order.sort_unstable();
    order
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn draws_reach_exactly_the_kept_tokens(
        levels in prop::collection::vec(0i32..12, 1..24),
        top_p in prop::sample::select(vec![0.05f32, 0.3, 0.77, 0.95, 1.0]),
        top_k in 0u32..8,
        min_p in prop::sample::select(vec![0.0f32, 0.013, 0.3]),
    ) {
        let params = SamplingParams { top_p, top_k, min_p, temperature: 0.7, ..SamplingParams::default() };
        let logits: Vec<f32> = levels.iter().map(|l| *l as f32 * 0.613).collect();
        let mut reached: Vec<usize> = (0..1000)
            .map(|i| draw_token(Kernels::detect(), &params, &mut logits.clone(), f64::from(i) / 1000.0) as usize)
            .collect();
        reached.sort_unstable();
        reached.dedup();
        let kept = kept_by_definition(&params, &logits);
        // A draw may miss a token less likely than the grid is fine, but never takes another one.
        prop_assert!(reached.iter().all(|i| kept.contains(i)), "{:?} {:?}", reached, kept);
        let max = logits.iter().copied().fold(f32::MIN, f32::max);
        for i in kept {
            let likely = ((logits[i] - max) / 0.7).exp() > 24.0 / 500.0;
            prop_assert!(!likely || reached.contains(&i), "{} of {:?}", i, reached);
        }
    }
}
