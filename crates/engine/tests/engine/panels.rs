//! Repacked weights on disk.

use std::fs;
use std::path::Path;

use chela_engine::engine::{Engine, EngineOptions, Request};
use chela_engine::model::{PanelCache, PanelStatus, Quantization};
use chela_engine::sampler::SamplingParams;

use crate::{collect, options, recordings_folder};

fn copy_model(to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(recordings_folder().join("tiny-model")).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

fn load(model: &Path, cache: &PanelCache, quantization: Option<Quantization>) -> (PanelStatus, String) {
    let options = EngineOptions { panel_cache: Some(cache.clone()), quantization, ..options() };
    let engine = Engine::load(model, &options, &mut |_| {}).unwrap();
    let prompt = engine.tokenizer().encode("The quick brown fox", true, true).unwrap();
    let answer = collect(engine.submit(Request::new(prompt, SamplingParams::greedy())).unwrap(), 1);
    (engine.info().panels.clone(), answer.choices[0].text.clone())
}

#[test]
fn a_second_start_maps_what_the_first_stored() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    copy_model(&model);
    let cache = PanelCache { folder: folder.path().join("cache"), limit: 64 << 20 };
    let text = " jumps over the lazy dog.".to_owned();
    assert_eq!(cache.entries().unwrap(), []);
    assert_eq!(load(&model, &cache, None), (PanelStatus::Stored, text.clone()));
    assert_eq!(load(&model, &cache, None), (PanelStatus::Mapped, text.clone()));
    assert_eq!(load(&model, &cache, Some(Quantization::Int8)).0, PanelStatus::Stored);
    assert_eq!(load(&model, &cache, Some(Quantization::Int8)), (PanelStatus::Mapped, text.clone()));

    // A damaged or shortened file is built again.
    let entries = cache.entries().unwrap();
    assert_eq!(entries.len(), 2);
    for entry in &entries {
        let bytes = fs::read(&entry.file).unwrap();
        fs::write(&entry.file, &bytes[..bytes.len() / 2]).unwrap();
    }
    assert_eq!(load(&model, &cache, None), (PanelStatus::Stored, text.clone()));
    assert_eq!(load(&model, &cache, None), (PanelStatus::Mapped, text.clone()));

    // Another content of the model is another entry, and those of the former content go.
    let weights = model.join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, bytes).unwrap();
    assert_eq!(load(&model, &cache, None), (PanelStatus::Stored, text));
    assert_eq!(cache.entries().unwrap().len(), 1);
    assert!(cache.remove(&model).unwrap() > 800_000);
    assert_eq!(cache.entries().unwrap(), []);
}

#[test]
fn panels_of_a_model_that_is_gone_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
    copy_model(&a);
    copy_model(&b);
    let cache = PanelCache { folder: folder.path().join("cache"), limit: 64 << 20 };
    load(&a, &cache, None);
    load(&b, &cache, None);
    assert_eq!(cache.entries().unwrap().len(), 2);
    fs::remove_dir_all(&a).unwrap();
    assert_eq!(load(&b, &cache, Some(Quantization::Int8)).0, PanelStatus::Stored);
    let models: Vec<_> = cache.entries().unwrap().into_iter().map(|e| e.model).collect();
    assert_eq!(models, vec![b.canonicalize().unwrap(); 2]);
}

#[test]
fn the_cache_keeps_its_limit_and_says_what_it_cannot_store() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
    copy_model(&a);
    copy_model(&b);
    let cache = PanelCache { folder: folder.path().join("cache"), limit: 1_500_000 };
    assert_eq!(load(&a, &cache, None).0, PanelStatus::Stored);
    assert_eq!(load(&b, &cache, None).0, PanelStatus::Stored);
    let models: Vec<_> = cache.entries().unwrap().into_iter().map(|e| e.model).collect();
    assert_eq!(models, [b.canonicalize().unwrap()]);

    let small = PanelCache { limit: 1000, ..cache };
    assert!(
        matches!(load(&a, &small, None).0, PanelStatus::NotStored(why) if why.contains("the cache holds 1000"))
    );
    let nowhere = PanelCache { folder: folder.path().join("a/config.json/x"), limit: 1 << 30 };
    assert!(matches!(load(&a, &nowhere, None).0, PanelStatus::NotStored(_)));
}
