//! The state of `top`, and how keys change it. It is independent of the terminal.

use std::collections::VecDeque;

use anyhow::Result;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{
    finding::Finding,
    rows::{Row, Sort},
};
use crate::{
    event::{PodId, Text},
    pipeline::Core,
    pods,
    report::{Clock, Names},
    text::TextStyle,
    verdict::{Outcome, Verdict},
};

/// The findings that are kept; the newest ones.
const MAX_FINDINGS: usize = 256;
/// The letters of a filter.
const MAX_FILTER: usize = 64;

/// An action that a key requests of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    Interrupt,
    Inspect(PodId),
}

/// The content of the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum View {
    Pods,
    /// One pod, as `inspect` shows it; `lines` is `None` until the snapshot has been taken.
    Pod {
        pod: PodId,
        /// Its name, also after it is gone.
        title: String,
        lines: Option<Vec<String>>,
        top: usize,
    },
}

pub(super) struct App {
    pub(super) text_style: TextStyle,
    pub(super) clock: Clock,
    pub(super) view: View,
    /// Filtered and sorted.
    pub(super) rows: Vec<Row>,
    /// The number of all pods, and of those in violation, including the pods that the filter hides.
    pub(super) pods: usize,
    pub(super) failing: usize,
    pub(super) lost: u64,
    pub(super) selected: Option<PodId>,
    pub(super) sort: Sort,
    pub(super) filter: String,
    /// Whether keys edit the filter.
    pub(super) is_editing: bool,
    /// The rows of the last screen.
    pub(super) page: usize,
    all: Vec<Row>,
    findings: VecDeque<Finding>,
    verdicts: Vec<Verdict>,
}

impl App {
    pub(super) fn new(text_style: TextStyle, clock: Clock) -> Self {
        Self {
            text_style,
            clock,
            view: View::Pods,
            rows: Vec::new(),
            pods: 0,
            failing: 0,
            lost: 0,
            selected: None,
            sort: Sort::default(),
            filter: String::new(),
            is_editing: false,
            page: 1,
            all: Vec::new(),
            findings: VecDeque::new(),
            verdicts: Vec::new(),
        }
    }

    /// The findings, newest first.
    pub(super) fn findings(&self) -> impl Iterator<Item = &Finding> + Clone {
        self.findings.iter()
    }

    /// The current verdicts on the pods that exist.
    pub(super) fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// Adds new verdicts, and drops those on pods that are gone.
    pub(super) fn judged(&mut self, fresh: Vec<Verdict>, core: &Core) {
        self.found(&fresh, &core.names);
        if !fresh.is_empty() {
            self.verdicts.extend(fresh);
            let is_there = |pod: &PodId| core.state.pods.contains_key(pod);
            self.verdicts
                .retain(|verdict| verdict.subject.pod.as_ref().is_none_or(is_there));
            self.verdicts = pods::standing(std::mem::take(&mut self.verdicts));
        }
    }

    pub(super) fn found(&mut self, fresh: &[Verdict], names: &Names) {
        for verdict in fresh
            .iter()
            .filter(|verdict| verdict.outcome == Outcome::Fail)
        {
            self.findings.push_front(Finding::new(verdict, names));
        }
        self.findings.truncate(MAX_FINDINGS);
    }

    /// Replaces the rows.
    pub(super) fn show(&mut self, rows: Vec<Row>, lost: u64) {
        self.pods = rows.len();
        self.failing = rows.iter().filter(|row| row.failed > 0).count();
        self.lost = lost;
        self.all = rows;
        self.arrange();
    }

    fn arrange(&mut self) {
        let wanted = self.filter.to_lowercase();
        let is_wanted = |row: &&Row| row.title.to_lowercase().contains(&wanted);
        // The selected row is kept even if its pod is gone.
        let before = self.index();
        self.rows = self.all.iter().filter(is_wanted).cloned().collect();
        self.sort.apply(&mut self.rows);
        if self.index().is_none() {
            let nearest = before.unwrap_or(0).min(self.rows.len().saturating_sub(1));
            self.selected = self.rows.get(nearest).map(|row| row.pod.clone());
        }
    }

    /// The row of a pod, also if the filter hides it.
    pub(super) fn row(&self, pod: &PodId) -> Option<&Row> {
        self.all.iter().find(|row| row.pod == *pod)
    }

    /// The index of the selected row.
    pub(super) fn index(&self) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        self.rows.iter().position(|row| row.pod == *selected)
    }

    /// Shows the result of `inspect`, if the user has not left the pod.
    pub(super) fn inspected(&mut self, text: Result<String>) {
        if let View::Pod { lines, .. } = &mut self.view {
            let text = text.unwrap_or_else(|error| format!("failed to inspect the pod: {error:#}"));
            *lines = Some(text.lines().map(str::to_owned).collect());
        }
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Action> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return matches!(key.code, KeyCode::Char('c')).then_some(Action::Interrupt);
        }
        match self.view {
            View::Pods if self.is_editing => {
                self.edit(key.code);
                None
            }
            View::Pods => self.key_in_pods(key.code),
            View::Pod { .. } => self.key_in_pod(key.code),
        }
    }

    fn edit(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_editing = false,
            KeyCode::Esc => {
                self.is_editing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(letter)
                if !letter.is_control() && self.filter.chars().count() < MAX_FILTER =>
            {
                self.filter.push(letter);
            }
            _ => {}
        }
        self.arrange();
    }

    fn key_in_pods(&mut self, code: KeyCode) -> Option<Action> {
        match code {
            KeyCode::Char('q') => return Some(Action::Quit),
            KeyCode::Esc if self.filter.is_empty() => return Some(Action::Quit),
            KeyCode::Esc => {
                self.filter.clear();
                self.arrange();
            }
            KeyCode::Char('/') => self.is_editing = true,
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                self.arrange();
            }
            KeyCode::Enter | KeyCode::Char('i') => {
                return self.selected.clone().map(|pod| self.inspect(pod));
            }
            _ => {
                let index = moved(code, self.index().unwrap_or(0), self.page, self.rows.len());
                self.selected = self.rows.get(index).map(|row| row.pod.clone());
            }
        }
        None
    }

    fn key_in_pod(&mut self, code: KeyCode) -> Option<Action> {
        let View::Pod {
            pod, lines, top, ..
        } = &mut self.view
        else {
            return None;
        };
        match code {
            KeyCode::Char('q') | KeyCode::Esc => self.view = View::Pods,
            KeyCode::Char('r') => {
                let pod = pod.clone();
                return Some(self.inspect(pod));
            }
            _ => {
                let count = lines.as_ref().map_or(0, Vec::len);
                // Scrolling stops at the last page.
                *top = moved(code, *top, self.page, count.saturating_sub(self.page) + 1);
            }
        }
        None
    }

    fn inspect(&mut self, pod: PodId) -> Action {
        let title = match (self.row(&pod), &self.view) {
            (Some(row), _) => row.title.clone(),
            (None, View::Pod { title, .. }) => title.clone(),
            (None, View::Pods) => format!("pod {}", Text::new(&pod)),
        };
        self.view = View::Pod {
            pod: pod.clone(),
            title,
            lines: None,
            top: 0,
        };
        Action::Inspect(pod)
    }
}

/// The index that a key moves to.
fn moved(code: KeyCode, from: usize, page: usize, count: usize) -> usize {
    let last = count.saturating_sub(1);
    match code {
        KeyCode::Up | KeyCode::Char('k') => from.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => from + 1,
        KeyCode::PageUp => from.saturating_sub(page),
        KeyCode::PageDown | KeyCode::Char(' ') => from + page,
        KeyCode::Home | KeyCode::Char('g') => 0,
        KeyCode::End | KeyCode::Char('G') => last,
        _ => from,
    }
    .min(last)
}
