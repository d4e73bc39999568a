//! Every query of every dashboard, and what every alert looks at.

use std::time::Duration;

use staffetta_deploy_check::{Dashboard, Rules, Variable, VariableKind, operands, with_variables};
use tokio::time::{Instant, sleep};

use crate::load::Load;
use crate::prometheus::Prometheus;

/// How long the rarest thing may take to show: figures of streams come every 15 seconds, rates need two of them, and on a
/// busy machine each look takes longer than what an outage leaves can be seen.
const LIMIT: Duration = Duration::from_secs(300);
/// Between two looks at what was still empty.
const PAUSE: Duration = Duration::from_secs(2);
/// The most ways to choose a dashboard's variables that are tried.
const MOST_CHOICES: usize = 60;

/// What may find nothing here, and why. A name that nobody asks by is a fault too.
const MAY_BE_EMPTY: [(&str, &str); 6] = [
    ("StaffettaMetricsOverflow", "it takes 20,000 tenants or channels to make an instrument overflow"),
    (
        "StaffettaWebhooksUnstorable",
        "only a NATS with another largest message than ours refuses a single webhook",
    ),
    ("StaffettaCalloutsInvalid", "it takes a NATS server that was given other keys than the API"),
    (
        "staffetta-delivery, Given up, and not logged",
        "an event is given up after days, and each try is logged",
    ),
    ("staffetta-recorder, Rows pruned", "a row is kept for eight days at least"),
    (
        "staffetta-overview, Channels with a backlog that send nothing",
        "it shows a fault of our own, which nothing from outside can bring about",
    ),
];

/// A question to Prometheus, and who asks it.
#[derive(Debug)]
struct Question {
    asker: String,
    query: String,
    variables: Vec<Variable>,
}

/// Asks until everything was answered with data, or the time is over; gives back what was not, and every error.
pub(crate) async fn look_at_all(
    prometheus: &Prometheus,
    dashboards: &[Dashboard],
    rules: &Rules,
    load: &mut Load,
) -> anyhow::Result<Vec<String>> {
    let mut open: Vec<Question> = questions(dashboards, rules);
    let asked = open.len();
    let mut faults: Vec<String> = MAY_BE_EMPTY
        .iter()
        .filter(|(name, _)| !open.iter().any(|question| question.asker == *name))
        .map(|(name, _)| format!("{name} may be empty, but nobody of that name asks"))
        .collect();
    open.retain(|question| !MAY_BE_EMPTY.iter().any(|(name, _)| question.asker == *name));
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut empty = Vec::new();
        for question in open {
            load.still_runs()?;
            match has_data(prometheus, &question).await {
                Ok(true) => {}
                Ok(false) => empty.push(question),
                Err(error) => faults.push(format!("{}: {error:#}: {}", question.asker, question.query)),
            }
        }
        open = empty;
        if open.is_empty() || Instant::now() > deadline {
            break;
        }
        sleep(PAUSE).await;
    }
    println!("          {asked} queries, {} without data", open.len());
    faults.extend(
        open.into_iter().map(|question| format!("{} finds nothing: {}", question.asker, question.query)),
    );
    Ok(faults)
}

fn questions(dashboards: &[Dashboard], rules: &Rules) -> Vec<Question> {
    let mut questions = Vec::new();
    for Dashboard { uid, variables, panels, .. } in dashboards {
        for panel in panels {
            let asker = format!("{uid}, {}", panel.title);
            questions.extend(panel.queries.iter().map(|query| Question {
                asker: asker.clone(),
                query: query.clone(),
                variables: variables.clone(),
            }));
        }
    }
    for rule in rules.all() {
        let parts = match (&rule.alert, &rule.record) {
            (Some(alert), _) => operands(&rule.expr).into_iter().map(|query| (alert, query)).collect(),
            (None, Some(record)) => vec![(record, record.clone())],
            (None, None) => Vec::new(),
        };
        questions.extend(parts.into_iter().map(|(asker, query)| Question {
            asker: asker.clone(),
            query,
            variables: Vec::new(),
        }));
    }
    questions
}

/// Whether the query finds something with some choice of its variables; with all values at once where that can be chosen.
async fn has_data(prometheus: &Prometheus, question: &Question) -> anyhow::Result<bool> {
    let mut choices: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for variable in question.variables.iter().filter(|variable| is_used(variable, question)) {
        let mut longer = Vec::new();
        for choice in choices {
            for value in values(prometheus, variable, &choice).await? {
                longer.push([choice.clone(), vec![(variable.name.clone(), value)]].concat());
            }
        }
        longer.truncate(MOST_CHOICES);
        choices = longer;
    }
    for choice in choices {
        if prometheus.count(&substituted(&question.query, &choice)).await? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the query, or another variable of the dashboard, asks for it.
fn is_used(variable: &Variable, question: &Question) -> bool {
    let asks = |text: &str| with_variables(text, |name| (name == variable.name).then(String::new)) != text;
    let by_variable = question.variables.iter().any(|other| match &other.kind {
        VariableKind::LabelValues { selector: Some(selector), .. } => asks(selector),
        _ => false,
    });
    asks(&question.query) || by_variable
}

async fn values(
    prometheus: &Prometheus,
    variable: &Variable,
    choice: &[(String, String)],
) -> anyhow::Result<Vec<String>> {
    if let Some(all) = variable.all.as_ref().filter(|_| variable.has_all) {
        return Ok(vec![all.clone()]);
    }
    let values = match &variable.kind {
        VariableKind::DataSource => return Ok(vec!["prometheus".into()]),
        VariableKind::List(values) => values.clone(),
        VariableKind::LabelValues { selector, label } => {
            let selector = selector.as_deref().map(|selector| substituted(selector, choice));
            prometheus.label_values(label, selector.as_deref()).await?
        }
    };
    Ok(if variable.has_all && !values.is_empty() { vec![format!("({})", values.join("|"))] } else { values })
}

/// Grafana's own variables for a range of a few minutes, then those of the dashboard.
fn substituted(query: &str, choice: &[(String, String)]) -> String {
    with_variables(query, |name| {
        let own = match name {
            "__rate_interval" => "15s",
            "__interval" => "5s",
            "__interval_ms" => "5000",
            "__range" => "3m",
            "__range_s" => "180",
            "__range_ms" => "180000",
            _ => return choice.iter().find(|(chosen, _)| chosen == name).map(|(_, value)| value.clone()),
        };
        Some(own.to_owned())
    })
}
