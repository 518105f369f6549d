//! Draws the view. Pure: nothing but a frame is touched.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Paragraph},
};

use super::view::{Pane, Pod, Row, View};
use crate::{cli::harmless::harmless, rules::Family};

/// Narrower screens have no list of pods beside the rest.
const WIDE: u16 = 100;
const KEYS: &str = "q quit ←→ pod  ↑↓ scroll  Tab pane  m moved  z zero  p pause";

const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const MOVED: Style = Style::new().fg(Color::Green).add_modifier(Modifier::BOLD);
const BAD: Style = Style::new().fg(Color::Red);

/// Draws all of it.
pub(super) fn draw(view: &View, frame: &mut Frame) {
    let [head, body, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(heading(view)), head);
    frame.render_widget(Paragraph::new(Line::styled(KEYS, DIM)), keys);
    let body = match body.width >= WIDE {
        false => body,
        true => {
            let width = view.pods.iter().map(|it| pod_line(it, false).width()).max();
            // And a border.
            let width = u16::try_from(width.unwrap_or(0) + 2).unwrap_or(u16::MAX);
            let width = width.min(body.width / 3);
            let [list, rest] =
                Layout::horizontal([Constraint::Length(width), Constraint::Min(0)]).areas(body);
            pods(view, frame, list);
            rest
        }
    };
    let [above, below] =
        Layout::vertical([Constraint::Percentage(60), Constraint::Percentage(40)]).areas(body);
    rules(view, frame, above);
    connections(view, frame, below);
}

fn heading(view: &View) -> Line<'_> {
    let mut spans = vec![
        Span::styled(format!("{}/{}", view.lab, view.pod()), BOLD),
        Span::raw(format!("  pod {} of {}", view.chosen + 1, view.pods.len())),
    ];
    if let Some(pod) = view.pods.get(view.chosen) {
        spans.push(Span::raw("  "));
        spans.extend(processes(pod));
    }
    if view.paused {
        spans.push(Span::styled("  paused", MOVED));
    }
    if let Some(note) = &view.note {
        spans.push(Span::styled(format!("  {}", harmless(note)), BAD));
    }
    Line::from(spans)
}

fn processes(pod: &Pod) -> Vec<Span<'_>> {
    let spans = pod.processes.iter().map(|(role, is_there)| match is_there {
        true => Span::styled(format!("{role} "), DIM),
        false => Span::styled(format!("{role} ended "), BAD),
    });
    spans.collect()
}

fn pod_line(pod: &Pod, is_chosen: bool) -> Line<'_> {
    let (mark, style) = match is_chosen {
        true => ("▸ ", BOLD),
        false => ("  ", Style::new()),
    };
    let mut spans = vec![Span::styled(format!("{mark}{} ", pod.name), style)];
    spans.extend(processes(pod));
    Line::from(spans)
}

fn pods(view: &View, frame: &mut Frame, area: Rect) {
    let all = view.pods.iter().enumerate();
    let lines = all.map(|(place, pod)| pod_line(pod, place == view.chosen));
    // The chosen one stays in sight.
    let room = usize::from(area.height.saturating_sub(2)).max(1);
    let first = (view.chosen + 1).saturating_sub(room);
    let lines: Vec<_> = lines.skip(first).collect();
    let block = Block::new().borders(Borders::ALL).title("pods");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn pane(title: String, is_chosen: bool) -> Block<'static> {
    let style = if is_chosen { BOLD } else { DIM };
    let block = Block::new().borders(Borders::ALL).border_style(style);
    block.title(Span::styled(title, style))
}

fn rules(view: &View, frame: &mut Frame, area: Rect) {
    let rows = view.rows();
    let what = if view.moved_only {
        "rules that moved"
    } else {
        "rules"
    };
    let title = format!("{what}: packets since z, +new");
    let block = pane(title, view.pane == Pane::Rules);
    let name = |row: &Row| {
        let family = match (view.has_both_families(), row.rule.id.family) {
            (false, _) => "",
            (true, Family::V4) => "4 ",
            (true, Family::V6) => "6 ",
        };
        let id = &row.rule.id;
        format!("{family}{} {} {}", id.table.name(), id.chain, id.ordinal)
    };
    let width = rows.iter().map(|row| name(row).chars().count()).max();
    let width = width.unwrap_or(0);
    let lines = rows.iter().skip(view.scrolled[0]).map(|row| {
        let style = if row.newly > 0 { MOVED } else { Style::new() };
        let newly = match row.newly {
            0 => String::new(),
            newly => format!("+{newly}"),
        };
        let since = match row.rule.packets {
            Some(_) => row.since.to_string(),
            None => "-".to_owned(),
        };
        Line::from(vec![
            Span::styled(format!("{since:>6} {newly:<5} "), style),
            Span::raw(format!("{:width$}  ", name(row))),
            Span::styled(harmless(&row.rule.text).into_owned(), DIM),
        ])
    });
    let lines: Vec<_> = lines.collect();
    let paragraph = match lines.is_empty() {
        true if view.moved_only => Paragraph::new(Line::styled("none moved yet", DIM)),
        true => Paragraph::new(Line::styled("no rules", DIM)),
        false => Paragraph::new(lines),
    };
    frame.render_widget(paragraph.block(block), area);
}

fn connections(view: &View, frame: &mut Frame, area: Rect) {
    let title = format!("connections, newest first: {}", view.connections.len());
    let block = pane(title, view.pane == Pane::Connections);
    let lines = view
        .connections
        .iter()
        .skip(view.scrolled[1])
        .flat_map(|it| {
            let mut spans = vec![Span::raw(it.ends.as_str())];
            if let Some(became) = &it.became {
                spans.push(Span::styled(format!("  {became}"), MOVED));
            }
            let path = match it.path.as_str() {
                "" => "no rule matched",
                path => path,
            };
            [Line::from(spans), Line::styled(format!("  {path}"), DIM)]
        });
    let lines: Vec<_> = lines.collect();
    let paragraph = match lines.is_empty() {
        true => Paragraph::new(Line::styled("none yet", DIM)),
        false => Paragraph::new(lines),
    };
    frame.render_widget(paragraph.block(block), area);
}
