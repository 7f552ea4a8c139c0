//! Explores every order of the requests of several processes.
//!
//! What a process does next depends on the answers that it has had, and on nothing else: so it is
//! run once for each sequence of answers, and the orders are explored over what it does then. Two
//! histories that lead to the same store and time, and to processes that ended in the same way or
//! have had the same answers, go on as one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use super::process::{Machine, Rules, Step, replay};
use super::store::{Answer, Request, Store};

/// A process, which ends with a word on how it went.
pub(super) struct Process<'a> {
    pub(super) name: &'static str,
    /// How often it may die, each time behind any of its requests.
    pub(super) max_deaths: u32,
    pub(super) run: Box<dyn Fn(&Machine) -> String + 'a>,
}

/// Where the processes begin.
pub(super) struct World {
    /// What the processes see while they prepare.
    pub(super) store: Store,
    /// When, in seconds since 1970.
    pub(super) now_s: i64,
    /// How long nothing happens, once, at any moment; 0 is never.
    pub(super) pause_s: i64,
    pub(super) rules: Rules,
}

/// Checks the end of a history: the outcomes, in the order of the processes, and what the check of
/// stores said of the last one.
pub(super) type EndCheck<'a> = &'a dyn Fn(&[&str], &str) -> Result<(), String>;

/// What must hold in every store that comes about, and at every end.
pub(super) struct Checks<'a> {
    pub(super) store: &'a dyn Fn(&Store) -> Result<String, String>,
    pub(super) end: EndCheck<'a>,
}

/// How much was explored.
#[derive(Debug)]
pub(super) struct Explored {
    /// Orders of requests, deaths and pauses.
    pub(super) histories: u128,
    /// Distinct states: the store, the time, and what each process has heard.
    pub(super) states: usize,
    pub(super) stores: usize,
    /// Runs of the real processes.
    pub(super) runs: usize,
}

const MAX_PROCESSES: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    store: u32,
    has_paused: bool,
    /// What each process has heard, or how it ended.
    heard: [u32; MAX_PROCESSES],
}

/// What came before a state.
#[derive(Clone, Copy)]
enum Way {
    Request { process: usize, request: u32, is_fatal: bool },
    Pause,
}

/// A sequence of answers to one process.
struct Heard {
    /// What it had heard before the last answer, and the answer with its time.
    last: Option<(u32, u32, i64)>,
    deaths: u32,
    step: Known,
}

#[derive(Clone, Copy)]
enum Known {
    Asks(u32),
    Ends(u32),
}

#[derive(Default)]
struct Learned {
    heard: Vec<Heard>,
    /// What it has heard after a further answer, and at what time where it looked at its clock.
    next: HashMap<(u32, u32, Option<i64>), u32>,
    /// What it has heard where it ended with an outcome: one of the ways to it stands for all.
    ended: HashMap<u32, u32>,
}

/// Numbers for values.
struct Numbered<T>(Vec<T>, HashMap<T, u32>);

impl<T: Clone + Eq + Hash> Numbered<T> {
    fn new() -> Self {
        Numbered(Vec::new(), HashMap::new())
    }

    fn number(&mut self, value: T) -> u32 {
        match self.1.entry(value) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                self.0.push(entry.key().clone());
                *entry.insert(self.0.len() as u32 - 1)
            }
        }
    }

    fn get(&self, number: u32) -> &T {
        &self.0[number as usize]
    }
}

struct Explorer<'a> {
    world: &'a World,
    processes: &'a [Process<'a>],
    checks: &'a Checks<'a>,
    learned: Vec<Learned>,
    stores: Numbered<Store>,
    requests: Numbered<Request>,
    answers: Numbered<Answer>,
    outcomes: Numbered<String>,
    /// What requests do: by store, request and time.
    done: HashMap<(u32, u32, i64), (u32, u32)>,
    /// What the check said of stores.
    said: HashMap<u32, String>,
    /// Histories from each state to an end.
    seen: HashMap<State, u128>,
    /// The way to where the exploration is.
    path: Vec<Way>,
    runs: usize,
}

/// Explores all that can happen; ends at the first fault, with the way to it.
pub(super) fn explore(
    world: &World,
    processes: &[Process],
    checks: &Checks,
) -> Result<Explored, String> {
    let mut explorer = Explorer {
        world,
        processes,
        checks,
        learned: Vec::new(),
        stores: Numbered::new(),
        requests: Numbered::new(),
        answers: Numbered::new(),
        outcomes: Numbered::new(),
        done: HashMap::new(),
        said: HashMap::new(),
        seen: HashMap::new(),
        path: Vec::new(),
        runs: 0,
    };
    for process in 0..processes.len() {
        explorer.learned.push(Learned::default());
        explorer.learn(process, None, 0)?;
    }
    let store = explorer.stores.number(world.store.clone());
    let first = State { store, has_paused: false, heard: [0; MAX_PROCESSES] };
    let histories = explorer.visit(first)?;
    Ok(Explored {
        histories,
        states: explorer.seen.len(),
        stores: explorer.said.len(),
        runs: explorer.runs,
    })
}

impl Explorer<'_> {
    /// The histories that go on from a state.
    fn visit(&mut self, state: State) -> Result<u128, String> {
        if let Some(histories) = self.seen.get(&state) {
            return Ok(*histories);
        }
        self.check_store(state.store)?;
        let now_s = self.world.now_s + if state.has_paused { self.world.pause_s } else { 0 };
        let (mut histories, mut outcomes) = (0, Vec::new());
        for process in 0..self.processes.len() {
            let heard = &self.learned[process].heard[state.heard[process] as usize];
            let (request, deaths) = match heard.step {
                Known::Ends(outcome) => {
                    outcomes.push(outcome);
                    continue;
                }
                Known::Asks(request) => (request, heard.deaths),
            };
            let (store, answer) = self.answer(state.store, request, now_s);
            let fatal = (deaths < self.processes[process].max_deaths)
                .then(|| self.answers.number(Answer::Dead));
            for answer in [Some(answer), fatal].into_iter().flatten() {
                let is_fatal = Some(answer) == fatal;
                self.path.push(Way::Request { process, request, is_fatal });
                let mut after = State { store, ..state };
                after.heard[process] = self.next(process, state.heard[process], answer, now_s)?;
                histories += self.visit(after)?;
                self.path.pop();
            }
        }
        if outcomes.len() == self.processes.len() {
            let outcomes: Vec<&str> =
                outcomes.iter().map(|outcome| self.outcomes.get(*outcome).as_str()).collect();
            let end = (self.checks.end)(&outcomes, &self.said[&state.store]);
            end.map_err(|fault| self.with_path(&fault))?;
            histories = 1;
        } else if self.world.pause_s > 0 && !state.has_paused {
            self.path.push(Way::Pause);
            histories += self.visit(State { has_paused: true, ..state })?;
            self.path.pop();
        }
        self.seen.insert(state, histories);
        Ok(histories)
    }

    fn check_store(&mut self, store: u32) -> Result<(), String> {
        if !self.said.contains_key(&store) {
            let said = (self.checks.store)(self.stores.get(store));
            let said = said.map_err(|fault| self.with_path(&fault))?;
            self.said.insert(store, said);
        }
        Ok(())
    }

    fn with_path(&self, fault: &str) -> String {
        let mut text = format!("{fault}, after {} states, behind", self.seen.len());
        for way in &self.path {
            text.push_str("\n  ");
            match way {
                Way::Pause => text.push_str(&format!("{} seconds pass", self.world.pause_s)),
                Way::Request { process, request, is_fatal } => {
                    let (name, what) = (self.processes[*process].name, self.requests.get(*request));
                    let death = if *is_fatal { ", and dies" } else { "" };
                    text.push_str(&format!("{name}: {}{death}", what.name()));
                }
            }
        }
        text
    }

    fn answer(&mut self, store: u32, request: u32, now_s: i64) -> (u32, u32) {
        if let Some(done) = self.done.get(&(store, request, now_s)) {
            return *done;
        }
        let mut after = self.stores.get(store).clone();
        let answer = after.answer(self.requests.get(request), now_s);
        let done = (self.stores.number(after), self.answers.number(answer));
        self.done.insert((store, request, now_s), done);
        done
    }

    fn next(&mut self, process: usize, heard: u32, answer: u32, now_s: i64) -> Result<u32, String> {
        let known = &self.learned[process].next;
        let at_any_time = known.get(&(heard, answer, None));
        if let Some(next) = at_any_time.or_else(|| known.get(&(heard, answer, Some(now_s)))) {
            return Ok(*next);
        }
        let is_death = *self.answers.get(answer) == Answer::Dead;
        let deaths = self.learned[process].heard[heard as usize].deaths + u32::from(is_death);
        let (next, is_timed) = self.learn(process, Some((heard, answer, now_s)), deaths)?;
        let time = is_timed.then_some(now_s);
        self.learned[process].next.insert((heard, answer, time), next);
        Ok(next)
    }

    /// Runs a process to find out what it does after a further answer, and whether it looks at its
    /// clock for that.
    fn learn(
        &mut self,
        process: usize,
        last: Option<(u32, u32, i64)>,
        deaths: u32,
    ) -> Result<(u32, bool), String> {
        let (mut answered, mut link) = (Vec::new(), last);
        while let Some((before, answer, now_s)) = link {
            let before = &self.learned[process].heard[before as usize];
            if let Known::Asks(request) = before.step {
                let (request, answer) = (self.requests.get(request), self.answers.get(answer));
                answered.push((request.clone(), answer.clone(), now_s));
            }
            link = before.last;
        }
        answered.reverse();
        self.runs += 1;
        let World { store, now_s, rules, .. } = self.world;
        let machine = Machine::alone(store.clone(), *now_s, *rules);
        let Process { name, run, .. } = &self.processes[process];
        let (step, is_timed) = replay(run, &machine, answered)
            .map_err(|surprise| format!("{name} is not a function of its answers: {surprise}"))?;
        let Learned { heard, ended, .. } = &mut self.learned[process];
        let number = heard.len() as u32;
        let step = match step {
            Step::Asks(request) => Known::Asks(self.requests.number(request)),
            Step::Ends(outcome) => {
                let outcome = self.outcomes.number(outcome);
                match ended.entry(outcome) {
                    Entry::Occupied(entry) => return Ok((*entry.get(), is_timed)),
                    Entry::Vacant(entry) => drop(entry.insert(number)),
                }
                Known::Ends(outcome)
            }
        };
        heard.push(Heard { last, deaths, step });
        Ok((number, is_timed))
    }
}
