//! The paper's ablations on StoryWorld: the same short training under changed rules, several seeds
//! each, and one table of what the judge sees.
//!
//! Every variant starts from the same finished teacher and student and has the same number of
//! updates: first the teacher learns on under the variant's rule, then the student does, leg by
//! leg, with that teacher beside it. A folder belongs to a rule, a seed and the legs so far, so
//! variants that begin alike share their beginning, and whatever is finished is passed by.
//!
//! Method: ShotStream, arXiv 2603.25746, tables 3 and 4.

mod rule;
mod table;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use shotstream_models::{bundle::Bundle, checkpoint::StoredDtype};
use shotstream_world::{Scores, StoryOptions};

pub use self::{
    rule::Rule,
    table::{VariantRow, markdown},
};
use crate::{
    court::{Court, Findings, Hearing, Past},
    error::TrainError,
    files, fingerprint,
    log::{self, LOG, Metrics},
    ranks::Alone,
    recipe::{StageRecipe, read_toml},
    stages::{MODEL, self_forcing, self_forcing::SelfForcingStage, teacher, teacher::TeacherStage},
    trainer::Run,
};

/// What the table is called in the folder of what was seen, as text and as numbers.
pub const TABLE: [&str; 2] = ["table.md", "table.json"];

/// What the folder of a rule's teacher ends with.
const TEACHER: &str = "teacher";

/// Which variants are compared, and how. Paths are beside the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ablation {
    /// Seeds of the runs: every variant is trained with each.
    pub seeds: Vec<u64>,
    /// The model file of the teacher that all start from.
    pub teacher: PathBuf,
    /// The model file of the student that all start from.
    pub student: PathBuf,
    /// The recipe by which a teacher gets used to a rule.
    pub teaching: PathBuf,
    /// Recipes of the legs that a student may take, all of them self-forcing.
    pub leg: BTreeMap<String, PathBuf>,
    /// Folder of the table and of what the judge saw of each model; that of the runs by default.
    /// Small files, and all that another machine needs to go on.
    #[serde(default)]
    pub scores: Option<PathBuf>,
    /// What is judged.
    pub judge: JudgeRecipe,
    /// What variants may change.
    pub rule: BTreeMap<String, Rule>,
    /// The rows of the table.
    pub variant: Vec<Variant>,
}

/// Stories that every model films twice, with captions that name the characters and without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeRecipe {
    /// Seed of the first story.
    pub seed: u64,
    /// How many stories.
    pub stories: usize,
    /// Shots of each.
    pub shots: usize,
}

/// One way to train.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// What the table calls it.
    pub name: String,
    /// Under which rule.
    pub rule: String,
    /// Which legs, in order; without any, the student is judged as it starts.
    pub legs: Vec<String>,
}

/// What the judge saw of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// SHA-256 of what it came from: the models to start from, the rule, all recipes and the seed.
    pub origin: String,
    /// Told who the characters are: every shot.
    pub named: Scores,
    /// Told in the first shot only: every later shot.
    pub anonymous: Scores,
    /// The change from chunk to chunk over the change inside chunks, told who they are.
    pub jump: Option<f64>,
    /// What the rule's teacher lost in the last quarter of its steps, step by step: all teachers of
    /// a seed learn from the same samples under the same noise. None where nothing was trained.
    #[serde(default)]
    pub losses: Vec<f64>,
}

/// Told before a piece of work begins: its folder, and what is done in it.
pub type Announce<'a> = dyn FnMut(&str, &str) + 'a;

/// Called with what is done, what there is in all, and numbers.
pub type Watch<'a> = dyn FnMut(u64, u64, &Metrics) + 'a;

/// Where and how the variants are trained.
pub struct Walk<'a> {
    /// The folder of all runs.
    pub dir: &'a Path,
    /// Threads at most.
    pub threads: usize,
    /// Hears what begins.
    pub announce: &'a mut Announce<'a>,
    /// Hears how it goes on.
    pub watch: &'a mut Watch<'a>,
}

impl std::fmt::Debug for Walk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walk").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Ablation {
    /// Read and check a file.
    ///
    /// # Errors
    /// If it cannot be read, names what it does not define, or a recipe it names cannot be meant.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let ablation: Self = read_toml(path)?;
        let invalid = |reason: String| TrainError::Recipe { reason, path: path.to_owned() };
        if ablation.seeds.is_empty() || ablation.judge.stories == 0 || ablation.judge.shots == 0 {
            return Err(invalid("seeds, judge.stories and judge.shots must not be empty".into()));
        }
        for Variant { name, rule, legs } in &ablation.variant {
            if !ablation.rule.contains_key(rule) {
                return Err(invalid(format!("variant {name:?} follows an unknown rule {rule:?}")));
            }
            if legs.iter().any(|leg| leg == TEACHER) {
                return Err(invalid(format!("no leg may be called {TEACHER:?}")));
            }
            if let Some(leg) = legs.iter().find(|leg| !ablation.leg.contains_key(*leg)) {
                return Err(invalid(format!("variant {name:?} takes an unknown leg {leg:?}")));
            }
        }
        StageRecipe::<TeacherStage>::read(&path.with_file_name(&ablation.teaching))?;
        for leg in ablation.leg.values() {
            StageRecipe::<SelfForcingStage>::read(&path.with_file_name(leg))?;
        }
        Ok(ablation)
    }

    /// Go on from wherever an earlier walk stopped, seed by seed, and write the table anew after every
    /// model. `file` is the ablation's own path.
    ///
    /// # Errors
    /// Those of the stages and of the court, if a rule does not fit the models, and if what was seen
    /// earlier is of other models or recipes.
    pub fn walk(&self, file: &Path, walk: &mut Walk<'_>) -> Result<Vec<VariantRow>, TrainError> {
        let scores = self.scores.as_ref().map(|scores| file.with_file_name(scores));
        let scores = &scores.unwrap_or_else(|| walk.dir.to_owned());
        std::fs::create_dir_all(scores)
            .map_err(|source| TrainError::Write { source, path: scores.clone() })?;
        let mut rows: Vec<VariantRow> = Vec::new();
        for (turn, &seed) in self.seeds.iter().enumerate() {
            for (place, variant) in self.variant.iter().enumerate() {
                if turn == 0 {
                    rows.push(VariantRow { variant: variant.name.clone(), seen: Vec::new() });
                } else if variant.legs.is_empty() {
                    // Nothing is trained, so every seed would give the same model.
                    continue;
                }
                let seen = self.follow((file, scores), variant, seed, walk)?;
                rows[place].seen.push(seen);
                let json = serde_json::to_vec_pretty(&rows).expect("numbers serialise");
                for (name, bytes) in TABLE.iter().zip([markdown(&rows).into_bytes(), json]) {
                    files::replace(&scores.join(name), &bytes)?;
                }
            }
        }
        Ok(rows)
    }

    /// Train one variant with one seed and judge what comes out.
    fn follow(
        &self,
        (file, scores): (&Path, &Path),
        variant: &Variant,
        seed: u64,
        walk: &mut Walk<'_>,
    ) -> Result<Seen, TrainError> {
        let prefix = format!("{}-{seed}", variant.rule);
        let name = |legs: &[String]| [std::slice::from_ref(&prefix), legs].concat().join("-");
        let path = scores.join(format!("{}.json", name(&variant.legs)));
        let origin = self.origin(file, variant, seed)?;
        if let Some(seen) = read_seen(&path)? {
            if seen.origin == origin {
                return Ok(seen);
            }
            let reason = "this was seen of other models or recipes; move it away".into();
            return Err(TrainError::Stored { reason, path });
        }
        let losses = match variant.legs.as_slice() {
            [] => Vec::new(),
            _ => self.teach(file, variant, seed, walk)?,
        };
        let mut bundle = self.start(file, &self.student, variant)?;
        for done in 1..=variant.legs.len() {
            let leg = &variant.legs[done - 1];
            bundle = trained(walk, &name(&variant.legs[..done]), leg, |run| {
                let mut recipe = self.recipe_of(file, leg)?;
                // A leg that is taken twice goes on with other shots.
                recipe.run.seed += (seed << 8) + done as u64;
                recipe.stage.teacher = format!("{prefix}-{TEACHER}");
                self_forcing::run(bundle, &recipe, run)
            })?;
        }
        (walk.announce)(&name(&variant.legs), "judge");
        let seen = Seen { origin, losses, ..self.judge(&bundle, walk)? };
        let json = serde_json::to_vec_pretty(&seen).expect("numbers serialise");
        files::replace(&path, &json)?;
        Ok(seen)
    }

    fn recipe_of(
        &self,
        file: &Path,
        leg: &str,
    ) -> Result<StageRecipe<SelfForcingStage>, TrainError> {
        StageRecipe::read(&file.with_file_name(&self.leg[leg]))
    }

    /// SHA-256 of everything that a variant's model comes from and is judged by.
    fn origin(&self, file: &Path, variant: &Variant, seed: u64) -> Result<String, TrainError> {
        let of = |model: &Path| fingerprint::of_file(&file.with_file_name(model));
        let legs = variant.legs.iter().map(|leg| self.recipe_of(file, leg));
        let legs: Vec<_> = legs.collect::<Result<_, _>>()?;
        let taught = match legs.as_slice() {
            [] => None,
            _ => {
                let recipe: StageRecipe<TeacherStage> =
                    StageRecipe::read(&file.with_file_name(&self.teaching))?;
                Some((of(&self.teacher)?, recipe, seed))
            }
        };
        let all = (of(&self.student)?, &self.rule[&variant.rule], taught, legs, self.judge);
        Ok(fingerprint::of_text(&serde_json::to_string(&all).expect("recipes serialise")))
    }

    /// Let the teacher get used to the rule: what it lost in the last quarter of its steps.
    fn teach(
        &self,
        file: &Path,
        variant: &Variant,
        seed: u64,
        walk: &mut Walk<'_>,
    ) -> Result<Vec<f64>, TrainError> {
        let name = format!("{}-{seed}-{TEACHER}", variant.rule);
        if !walk.dir.join(&name).join(MODEL).exists() {
            trained(walk, &name, TEACHER, |run| {
                let mut recipe = StageRecipe::read(&file.with_file_name(&self.teaching))?;
                recipe.run.seed += seed << 8;
                teacher::run(self.start(file, &self.teacher, variant)?, &recipe, run)
            })?;
        }
        let path = walk.dir.join(&name).join(LOG);
        let mut losses = log::losses(&path).map_err(|source| TrainError::Read { source, path })?;
        Ok(losses.split_off(losses.len() * 3 / 4))
    }

    /// The model at `path` under the variant's rule.
    fn start(&self, file: &Path, path: &Path, variant: &Variant) -> Result<Bundle, TrainError> {
        let bundle = Bundle::from_file(&file.with_file_name(path), &Device::flex())?;
        let rule = &self.rule[&variant.rule];
        rule.apply(bundle).map_err(|reason| TrainError::Recipe { reason, path: file.to_owned() })
    }

    fn judge(&self, bundle: &Bundle, walk: &mut Walk<'_>) -> Result<Seen, TrainError> {
        let JudgeRecipe { seed, stories, shots } = self.judge;
        let court = Court::student(bundle, bundle.recipe().clone())?;
        let mut found = Vec::new();
        for anonymous in [false, true] {
            let hearing = Hearing {
                seed,
                stories,
                options: StoryOptions { shots: shots..=shots, ..StoryOptions::default() },
                anonymous,
                past: Past::Own,
                untold: false,
                marks: Vec::new(),
            };
            let mut watch = |done, all| (walk.watch)(done, all, &Vec::new());
            found.push(Findings::of(&court.hear(&hearing, walk.threads, &mut watch)?));
        }
        let (told, untold) = (found.swap_remove(0), found.swap_remove(0));
        Ok(Seen {
            origin: String::new(),
            named: told.scores,
            anonymous: untold.later,
            jump: told.jump,
            losses: Vec::new(),
        })
    }
}

/// The finished model of a run: read where it is there, else trained, or trained on.
fn trained(
    walk: &mut Walk<'_>,
    name: &str,
    stage: &str,
    train: impl FnOnce(&mut Run<'_>) -> Result<Bundle, TrainError>,
) -> Result<Bundle, TrainError> {
    let dir = walk.dir.join(name);
    let model = dir.join(MODEL);
    if model.exists() {
        return Ok(Bundle::from_file(&model, &Device::flex())?);
    }
    (walk.announce)(&dir.to_string_lossy(), stage);
    let mut run = Run {
        stage: "ablation",
        dir,
        resume: true,
        threads: walk.threads,
        ranks: &Alone,
        record: None,
        watch: &mut *walk.watch,
    };
    let bundle = train(&mut run)?;
    bundle.save(&model, StoredDtype::F32)?;
    Ok(bundle)
}

fn read_seen(path: &Path) -> Result<Option<Seen>, TrainError> {
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path)
        .map_err(|source| TrainError::Read { source, path: path.to_owned() })?;
    let refuse = |error: serde_json::Error| TrainError::Stored {
        reason: error.to_string(),
        path: path.to_owned(),
    };
    serde_json::from_str(&text).map(Some).map_err(refuse)
}
