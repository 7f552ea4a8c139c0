use std::path::Path;

use ossify_vocabulary::Architecture;
use toml::Value;

use crate::error::ConfigError;
use crate::layers::Layers;
use crate::margins::Margin;
use crate::origin::Origin;
use crate::schema::Effect;
use crate::sections::tables;

fn with(text: &str) -> Result<Layers, ConfigError> {
    let mut layers = Layers::defaults();
    layers.add_text(Path::new("conf/x.toml"), text)?;
    Ok(layers)
}

#[test]
fn margins_are_numbers_or_off() {
    let mut layers = with("[evaluate.max_drop]\naccuracy = 0.02\nap50 = \"off\"\n").unwrap();
    layers.add_set("evaluate.max_drop.mean_iou=off").unwrap();
    layers.add_set("evaluate.max_drop.accuracy=1").unwrap();
    let margins = layers.resolve().unwrap().evaluate.max_drop;
    let most =
        [margins.accuracy, margins.macro_f1, margins.mean_iou, margins.ap50].map(Margin::most);
    assert_eq!(most, [Some(1.0), Some(0.0), None, None]);
    for (assignment, reason) in [
        ("evaluate.max_drop.accuracy=2", "it should be a number between 0 and 1, or \"off\""),
        ("evaluate.max_drop.accuracy=none", "it should be a number between 0 and 1, or \"off\""),
        ("evaluate.max_drop.acuracy=0", "did you mean `accuracy`?"),
        ("evaluate.drop_test=sure", r#"it should be one of "measured", "clear", "possible""#),
    ] {
        let error = layers.clone().add_set(assignment).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_value_is_one_value_and_nothing_is_behind_it() {
    let mut layers = Layers::defaults();
    for assignment in [
        "train.epochs=3\ntrain.batch_size=2",
        "train.epochs=3\n[foo]\nx=1",
        "train.epochs=3 4",
        "dataset.class_names=[\"a\", \"b\"]\n[\"c\"]",
        "train.model.architecture=\"densenet-121\"\nx=1",
        "evaluate.max_drop.accuracy=0.1\nmacro_f1=0.2",
    ] {
        let error = layers.add_set(assignment).unwrap_err().to_string();
        assert!(error.contains("it should be"), "{assignment}: {error}");
    }
    let variable = ("OSSIFY__TRAIN__EPOCHS".to_owned(), "3\nbatch_size=99".to_owned());
    layers.add_environment([variable].into_iter()).unwrap_err();
    layers.add_set("dataset.class_names=[\"a\",\n \"b\"]").unwrap();
    layers.add_set("train.epochs= 3 ").unwrap();
    layers.add_set("predict.images=a folder\nof images").unwrap();
    let settings = layers.resolve().unwrap();
    assert_eq!((settings.dataset.class_names.len(), settings.train.epochs), (2, 3));
    assert_eq!(settings.predict.images, "a folder\nof images");
}

#[test]
fn the_cache_is_on_this_machine() {
    let mut layers = Layers::defaults();
    for cache in ["\"\"", "s3://bucket/cache", "s3:/bucket/cache"] {
        let error = layers.add_set(&format!("storage.cache={cache}")).unwrap_err().to_string();
        assert!(error.contains("it should be a folder of this machine"), "{error}");
    }
    layers.add_set("storage.cache=/var/cache").unwrap();
}

#[test]
fn later_layers_win_and_say_where_they_are_from() {
    let mut layers =
        with("[train]\nepochs = 7\nbatch_size = 8\noptimizer.learning_rate = 1\n").unwrap();
    layers
        .add_environment(
            [
                ("OSSIFY__TRAIN__BATCH_SIZE".to_owned(), "32".to_owned()),
                ("HOME".into(), "/".into()),
            ]
            .into_iter(),
        )
        .unwrap();
    layers.add_set("train.model.architecture=densenet-compact").unwrap();
    let settings = layers.resolve().unwrap();
    assert_eq!(
        (settings.train.epochs, settings.train.batch_size, settings.train.optimizer.learning_rate),
        (7, 32, 1.0)
    );
    assert_eq!(settings.train.model.architecture, Architecture::DenseNetCompact);
    let printed = layers.print();
    for expected in [
        "epochs = 7                                   # conf/x.toml:2:1",
        "# environment variable OSSIFY__TRAIN__BATCH_SIZE",
        "# --set train.model.architecture=densenet-compact",
    ] {
        assert!(printed.contains(expected), "{expected} not in\n{printed}");
    }
    let mut again = Layers::defaults();
    again.add_text(Path::new("printed"), &printed).unwrap();
    assert_eq!(again.resolve().unwrap(), settings);
}

#[test]
fn an_unknown_key_names_its_place_and_the_nearest_key() {
    let error = with("[train]\nepochs = 7\n  epoch = 8\n").unwrap_err().to_string();
    assert_eq!(error, "conf/x.toml:3:3: unknown key `train.epoch`; did you mean `train.epochs`?");
    let error = with("[trian]\nepochs = 7\n").unwrap_err().to_string();
    assert_eq!(error, "conf/x.toml:1:2: unknown key `trian`; did you mean the table [train]?");
    let error = Layers::defaults().add_set("ingest.epochs=3").unwrap_err().to_string();
    assert_eq!(
        error,
        "--set ingest.epochs=3: unknown key `ingest.epochs`; did you mean `train.epochs`?"
    );
}

#[test]
fn a_value_that_does_not_fit_says_why_and_what_the_key_means() {
    let error = Layers::defaults().add_set("ingest.tolerance=2").unwrap_err().to_string();
    let expected = "--set ingest.tolerance=2: ingest.tolerance = 2: \
                    it should lie between 0 and 1\n  ingest.tolerance: How far";
    assert!(error.starts_with(expected), "{error}");
    let error = Layers::defaults().add_set("resize.geometry=squash").unwrap_err().to_string();
    assert!(error.contains("squash") && error.contains("letterbox"), "{error}");
    let error = with("[train\n").unwrap_err().to_string();
    assert!(error.starts_with("conf/x.toml:1:7: not valid TOML"), "{error}");
}

#[test]
fn entries_of_tables_are_set_one_by_one_from_everywhere() {
    let mut layers = with(
        "[ingest.rules]\nmixed-shapes = \"off\"\n\n\
         [ingest]\nmerge_rare_into = { \"left wrist\" = \"wrist\" }\n",
    )
    .unwrap();
    layers
        .add_environment(
            [("OSSIFY__INGEST__RULES__BOX_CLIPPED".to_owned(), "error".to_owned())].into_iter(),
        )
        .unwrap();
    layers.add_set("ingest.rules.zero-area=note").unwrap();
    layers.add_set("ingest.max_findings={class-unknown = 3}").unwrap();
    layers.add_set("ingest.merge_rare_into.elbow=wrist").unwrap();
    let ingest = layers.resolve().unwrap().ingest;
    let level = |rule: &str| ingest.rules.level(rule).as_str();
    assert_eq!(
        ["mixed-shapes", "box-clipped", "zero-area", "class-unknown"].map(level),
        ["off", "error", "note", "error"]
    );
    assert_eq!(
        ingest.max_findings.into_iter().collect::<Vec<_>>(),
        [("class-unknown".to_owned(), 3)]
    );
    assert_eq!(ingest.merge_rare_into.keys().collect::<Vec<_>>(), ["elbow", "left wrist"]);
    let printed = layers.print();
    for expected in [
        "mixed-shapes = \"off\"                         # conf/x.toml:2:1",
        "\"left wrist\" = \"wrist\"",
    ] {
        assert!(printed.contains(expected), "{expected} not in\n{printed}");
    }
    assert!(
        layers
            .canonical("ingest", &[Effect::Output])
            .contains("ingest.rules.\"mixed-shapes\" = \"off\"")
    );
    let mut again = Layers::defaults();
    again.add_text(Path::new("printed"), &printed).unwrap();
    assert_eq!(again.resolve().unwrap(), layers.resolve().unwrap());
}

#[test]
fn a_rule_or_level_that_does_not_fit_is_refused() {
    let error = with("[ingest.rules]\ncoordinate-cuont = \"off\"\n").unwrap_err().to_string();
    assert_eq!(
        error,
        "conf/x.toml:2:1: unknown key `ingest.rules.coordinate-cuont`; \
         did you mean `coordinate-count`?"
    );
    let error = with("[ingest]\nrules = 3\n").unwrap_err().to_string();
    assert!(
        error.starts_with("conf/x.toml:2:1: ingest.rules = 3: it should be a table"),
        "{error}"
    );
    let refused = |set: &str| {
        Layers::defaults()
            .add_set(set)
            .unwrap_err()
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    for (set, reason) in [
        (
            "ingest.rules.coordinate-count=off",
            r#"never left out in silence; it should be one of "note", "warn", "error""#,
        ),
        (
            "ingest.rules.class-unknown=error+keep",
            r#"dropped at every level; it should be one of "note", "warn", "error""#,
        ),
        (
            "ingest.rules.mixed-shapes=warn+drop",
            r#"it has no effect on lines; it should be one of "off", "note", "warn", "error""#,
        ),
        ("ingest.rules.box-clipped=loud", r#""error", "note+drop", "warn+drop", "error+keep""#),
        (
            "ingest.max_findings.box-clipped=-1",
            "it should be a whole number between 0 and 9223372036854775807",
        ),
    ] {
        assert!(refused(set).ends_with(reason), "{}", refused(set));
    }
}

#[test]
fn every_default_passes_its_own_check_and_has_a_doc() {
    for table in tables() {
        for key in &table.keys {
            let path = format!("{}.{}", table.path, key.name);
            assert_eq!((key.check)(&key.default).as_ref(), Ok(&key.default), "{path}");
            assert!(key.doc.len() > 10, "{path}");
        }
        for named in &table.named {
            assert!(named.doc.len() > 10, "{}.{}", table.path, named.name);
        }
    }
}

#[test]
fn old_names_are_all_answered_with_the_new_ones() {
    let old = "[train]\nl2 = 0.1\nepochs = 3\nsampler = \"balanced\"\nschedule = \"cosine\"\n";
    assert_eq!(
        with(old).unwrap_err().to_string(),
        "conf/x.toml:2:1: train.l2 is now train.loss.l2\n\
         conf/x.toml:4:1: train.sampler is now train.sampler.kind\n\
         conf/x.toml:5:1: train.schedule is now train.schedule.kind"
    );
    let mut layers = Layers::defaults();
    assert_eq!(
        layers.add_set("train.label_smoothing=0.1").unwrap_err().to_string(),
        "--set train.label_smoothing=0.1: train.label_smoothing is now train.loss.label_smoothing"
    );
    let variables = [("OSSIFY__TRAIN__PLACE_WEIGHT".to_owned(), "1".to_owned())];
    assert_eq!(
        layers.add_environment(variables.into_iter()).unwrap_err().to_string(),
        "environment variable OSSIFY__TRAIN__PLACE_WEIGHT: \
         train.place_weight is now train.loss.cell_weight"
    );
}

#[test]
fn keys_of_tables_below_a_section_are_set_from_everywhere() {
    let mut layers = with("[train.loss]\nl2 = 1\n\n[train]\naugment = { flip = true }\n").unwrap();
    let variable = ("OSSIFY__TRAIN__LOSS__BOX_WEIGHT".to_owned(), "3".to_owned());
    layers.add_environment([variable].into_iter()).unwrap();
    layers.add_set("train.schedule.kind=cosine").unwrap();
    layers.add_set("train.stopping={patience=3, max_minutes=1}").unwrap();
    let train = layers.resolve().unwrap().train;
    assert_eq!((train.loss.l2, train.augment.flip, train.loss.box_weight), (1.0, true, 3.0));
    assert_eq!((train.stopping.patience, train.schedule.kind.as_str()), (3, "cosine"));
    for (set, expected) in [
        ("train.loss.l3=1", "unknown key `train.loss.l3`; did you mean `train.loss.l2`?"),
        ("train.los.l2=1", "unknown key `train.los.l2`; did you mean `train.loss.l2`?"),
        (
            "train.loss=1",
            "train.loss = 1: it should be a table, as in [train.loss] or { name = value }",
        ),
        ("train.loss={l2=true}", "train.loss.l2 = true: it should be a number"),
    ] {
        let error = layers.clone().add_set(set).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = with("[train]\n\"loss.l2\" = 1\n").unwrap_err().to_string();
    assert!(error.starts_with("conf/x.toml:2:1: unknown key `train.loss.l2`"), "{error}");
}

#[test]
fn a_number_that_no_key_can_take_is_refused_with_its_line() {
    for (text, expected) in [
        (
            "[general]\nseed = 18446744073709551615\n",
            "conf/x.toml:2:8: general.seed = 18446744073709551615: whole numbers lie between",
        ),
        ("[general]\nseed = 0xffffffffffffffff\n", "conf/x.toml:2:8: general.seed = 0xfff"),
        ("[ingest]\ntolerance = 1e400\n", "conf/x.toml:2:13: ingest.tolerance = 1e400: numbers"),
        ("[ingest]\ntolerance = 1e-400\n", "conf/x.toml:2:13: ingest.tolerance = 1e-400: numbers"),
        (
            "[evaluate]\nsensitivities = [0.5, 1e-400]\n",
            "conf/x.toml:2:23: evaluate.sensitivities = 1e-400: numbers",
        ),
        ("[ingest]\ntolerance = 1e-300\n", "it should be 0, or at least 1.2e-38 in size"),
        (
            "[ingest.max_findings]\nzero-area = 99999999999999999999\n",
            "conf/x.toml:2:13: ingest.max_findings.zero-area = 99999999999999999999: whole numbers",
        ),
        (
            "[train]\nmodel.head_widths = [\n  16,\n  99999999999999999999]\n",
            "conf/x.toml:4:3: train.model.head_widths = 99999999999999999999: whole numbers",
        ),
        ("[ingest]\ntolerance = nan\n", "conf/x.toml:2:1: ingest.tolerance = nan: it should lie"),
        ("[ingest]\ntolerance = inf\n", "conf/x.toml:2:1: ingest.tolerance = inf: it should lie"),
        ("[general]\nseed = 1979-05-27\n", "general.seed = 1979-05-27: it should be a whole"),
    ] {
        let error = with(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_number_that_is_not_0_never_becomes_0_wherever_it_is_set() {
    for number in ["1e-400", "-1e-400", "0.000_1e-399", "1e-45"] {
        let set = |layers: &mut Layers| layers.add_set(&format!("train.loss.l2={number}"));
        let variable = |layers: &mut Layers| {
            let variable = ("OSSIFY__TRAIN__LOSS__L2".to_owned(), number.to_owned());
            layers.add_environment([variable].into_iter())
        };
        let file = |layers: &mut Layers| {
            layers.add_text(Path::new("x.toml"), &format!("[train.loss]\nl2 = {number}\n"))
        };
        let table = |layers: &mut Layers| layers.add_set(&format!("train.loss={{l2={number}}}"));
        type Way<'a> = &'a dyn Fn(&mut Layers) -> Result<(), ConfigError>;
        let ways: [Way<'_>; 4] = [&set, &variable, &file, &table];
        for way in ways {
            let error = way(&mut Layers::defaults()).unwrap_err().to_string();
            assert!(error.contains("train.loss.l2 = "), "{error}");
        }
    }
    let mut layers = Layers::defaults();
    for zero in ["0", "0.0", "-0.0", "0e-400", "0.00e5"] {
        layers.add_set(&format!("train.loss.l2={zero}")).unwrap();
        assert_eq!(layers.resolve().unwrap().train.loss.l2, 0.0);
    }
    layers.add_set("predict.run=1e-400").unwrap();
    assert_eq!(layers.resolve().unwrap().predict.run, "1e-400");
}

#[test]
fn every_conf_file_of_the_repository_fits() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folders = ["conf", "pipelines/ci", "pipelines/dvc", "pipelines/kubernetes"];
    let mut found = 0;
    for folder in folders {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let mut layers = Layers::defaults();
                layers.add_file(&path).unwrap_or_else(|e| panic!("{e}"));
                layers.resolve().unwrap_or_else(|e| panic!("{e}"));
                found += 1;
            }
        }
    }
    assert!(found >= folders.len(), "{found}");
}

/// Keys whose values are only compared, or are seeds: any number will do.
const UNBOUNDED: [&str; 2] = ["general.seed", "phantom.seed"];

#[test]
fn every_key_takes_or_refuses_extreme_values_in_words() {
    let text = ["", " ", "\u{0}", "🦴", "..", "/", "nan"].map(|text| Value::String(text.into()));
    let long = Value::String("x".repeat(1 << 20));
    let whole = [i64::MIN, -1, 0, 1, 2, 65_537, i64::from(u32::MAX), i64::from(u32::MAX) + 1];
    let whole = whole.into_iter().chain([i64::MAX - 1, i64::MAX]).map(Value::Integer);
    let float = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, -0.0, 5e-324];
    let float = float.into_iter().map(Value::Float);
    let scalars: Vec<Value> =
        text.into_iter().chain([long, Value::Boolean(true)]).chain(whole).chain(float).collect();
    let lists = scalars.iter().map(|value| Value::Array(vec![value.clone(); 3]));
    let nested = Value::Array(vec![Value::Array(vec![Value::Integer(1)])]);
    let values: Vec<Value> =
        lists.chain([nested, Value::Array(Vec::new())]).chain(scalars.clone()).collect();
    for table in tables() {
        for key in &table.keys {
            let path = format!("{}.{}", table.path, key.name);
            for value in &values {
                let mut layers = Layers::defaults();
                let origin = Origin::CommandLine("a test".into());
                match layers.set(&path, value.clone(), origin) {
                    Ok(()) => {
                        // What is printed is what is read.
                        let printed = layers.print();
                        let again = with(&printed).unwrap_or_else(|e| panic!("{path}: {e}"));
                        assert_eq!(again.resolve().unwrap(), layers.resolve().unwrap(), "{path}");
                    }
                    Err(e) => assert!(e.to_string().contains("should"), "{e}"),
                }
            }
            let takes = |value: Value| (key.check)(&value).is_ok();
            let is_bounded = !takes(Value::Integer(i64::MAX)) && !takes(Value::Float(f64::MAX));
            assert_eq!(is_bounded, !UNBOUNDED.contains(&path.as_str()), "{path} needs a range");
            assert!(!takes(Value::Float(f64::NAN)), "{path}");
        }
    }
}

#[test]
fn a_key_that_is_set_twice_is_named_with_its_new_name_if_it_has_one() {
    for (text, expected) in [
        (
            "[train]\nschedule = \"cosine\"\n\n[train.schedule]\nwarmup_epochs = 1\n",
            "conf/x.toml:4:8: not valid TOML: `schedule` is set a second time; \
             the value of train.schedule is now train.schedule.kind",
        ),
        (
            "[train]\nepochs = 1\nepochs = 2\n",
            "conf/x.toml:3:1: not valid TOML: `epochs` is set a second time; set it once",
        ),
        (
            "[train]\n\n[resize]\n\n[train]\nepochs = 2\n",
            "conf/x.toml:5:2: not valid TOML: `train` is set a second time; set it once",
        ),
        (
            "train.sampler.unit = \"objects\"\ntrain.sampler = \"balanced\"\n",
            "conf/x.toml:2:7: not valid TOML: `sampler` is set a second time; \
             the value of train.sampler is now train.sampler.kind",
        ),
    ] {
        assert_eq!(with(text).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_value_of_another_type_is_refused_with_the_range_of_its_key() {
    for (set, reason) in [
        ("train.epochs=x", "it should be a whole number between 1 and 1000000"),
        ("train.epochs=5000000000", "it should be a whole number between 1 and 1000000"),
        ("ingest.tolerance=x", "it should be a number between 0 and 1"),
        ("train.loss=3", "it should be a table, as in [train.loss] or { name = value }"),
        ("train.loss=[{}]", "it should be a table, as in [train.loss] or { name = value }"),
        ("general.seed=x", "it should be a whole number between 0 and 9223372036854775807"),
        ("evaluate.sensitivities=3", "it should be a list in brackets, each item a number"),
    ] {
        let error = Layers::defaults().add_set(set).unwrap_err().to_string();
        let first = error.lines().next().unwrap();
        assert!(first.ends_with(reason), "{error}");
        assert!(!error.trim_end().ends_with(':'), "{error}");
    }
    let error = Layers::defaults().add_set("train.model.head_widths=x").unwrap_err().to_string();
    assert!(error.contains("a list in brackets, each item a whole number between 1"), "{error}");
}

#[test]
fn two_variables_that_set_one_key_are_refused() {
    let add = |variables: [(&str, &str); 2]| {
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Layers::defaults().add_environment(variables.into_iter()).map_err(|e| e.to_string())
    };
    let error = add([("OSSIFY__TRAIN__EPOCHS", "3"), ("OSSIFY__TRAIN__epochs", "4")]).unwrap_err();
    assert_eq!(
        error,
        "environment variables OSSIFY__TRAIN__EPOCHS and OSSIFY__TRAIN__epochs: \
         both set train.epochs, with another value each; unset one of them"
    );
    add([("OSSIFY__TRAIN__EPOCHS", "3"), ("OSSIFY__TRAIN__epochs", "3")]).unwrap();
}

#[test]
fn a_name_that_is_like_no_key_is_not_answered_with_one() {
    let variables = [("OSSIFY__FOO".to_owned(), "1".to_owned())];
    assert_eq!(
        Layers::defaults().add_environment(variables.into_iter()).unwrap_err().to_string(),
        "environment variable OSSIFY__FOO: unknown key `foo`; --print-config lists all keys"
    );
}
