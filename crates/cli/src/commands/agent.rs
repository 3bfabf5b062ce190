//! `chela agent`: one task, the answer on stdout.

use std::io::Read;
use std::sync::Arc;

use chela_protocol::{ApprovalId, ApproveMode, Attachment, Decision, Envelope, Event, Op};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::args;
use crate::attach;
use crate::commands::explain;
use crate::compose::{self, Wishes};
use crate::context::{Context, runtime};
use crate::env::Stdin;
use crate::exit::{Code, Failure, Outcome};
use crate::front::{Front, Wish};
use crate::output::prompt as ask;

/// Operations and events that may wait for the other side.
pub const AHEAD: usize = 256;

/// Runs the command.
pub fn run(args: args::Agent, context: &Context) -> Outcome {
    if args.explain_prompt {
        return explain::run(&args, context);
    }
    let message = message(&args, context)?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(turn(args, context, message));
    // A thread that waits for a line of standard input must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// The next SIGINT or SIGTERM; never, where the system does not tell.
pub async fn wait_for_interrupt() {
    match Interrupts::listen() {
        Ok(mut interrupts) => interrupts.next().await,
        Err(_) => std::future::pending().await,
    }
}

/// SIGINT and SIGTERM from now on; none that comes while nobody waits for it is lost.
pub struct Interrupts {
    int: Signal,
    term: Signal,
}

impl Interrupts {
    /// Needs a runtime around it.
    ///
    /// # Errors
    /// The system does not tell of signals.
    pub fn listen() -> Result<Self, Failure> {
        let on = |kind| signal(kind).map_err(|e| Failure::new(Code::Failed, format!("no signals: {e}")));
        Ok(Self { int: on(SignalKind::interrupt())?, term: on(SignalKind::terminate())? })
    }

    /// Resolves at the next one.
    pub async fn next(&mut self) {
        tokio::select! { _ = self.int.recv() => {}, _ = self.term.recv() => {} }
    }

    /// Stops the turn at the first one. At the second one the process ends at once: what is kept is kept
    /// already. A task of its own, since whoever reads the output may have stopped to.
    async fn stop(mut self, ops: mpsc::Sender<Op>) {
        self.next().await;
        // An agent that does not listen has ended.
        let _ = ops.send(Op::Stop).await;
        self.next().await;
        std::process::exit(Code::Interrupted as i32);
    }
}

/// The message and what belongs to it.
fn message(args: &args::Agent, context: &Context) -> Result<Op, Failure> {
    let piped = match (&args.message, context.surroundings.stdin) {
        (None, Stdin::Terminal) => {
            let failure = Failure::usage("no message: give one with -m, or on standard input");
            return Err(failure.hint("chela agent -m 'What is in this folder?'"));
        }
        (Some(_), Stdin::Terminal | Stdin::Other) => None,
        (None, _) | (Some(_), Stdin::Data) => Some(read_stdin()?),
    };
    let text = args.message.as_deref().or(piped.as_deref()).unwrap_or_default().trim_end();
    if text.trim().is_empty() {
        return Err(Failure::usage("the message is empty").hint("give one with -m, or on standard input"));
    }
    if args.message.is_none() {
        return Ok(Op::UserMessage { text: text.to_owned(), images: Vec::new(), attachments: Vec::new() });
    }
    let mut message = attach::message(text, context)?;
    if let (Op::UserMessage { attachments, .. }, Some(piped)) = (&mut message, piped)
        && !piped.trim().is_empty()
    {
        attachments.push(Attachment { name: "stdin".into(), text: piped, file: false });
    }
    Ok(message)
}

fn read_stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::usage(format!("standard input is not UTF-8 text: byte {at} begins no character"))
    })
}

async fn turn(args: args::Agent, context: &Context, message: Op) -> Outcome {
    let catalog = context.catalog()?;
    let can_ask = context.surroundings.can_ask() && !args.json;
    let approve = args.approve.unwrap_or(if can_ask { ApproveMode::Ask } else { ApproveMode::None });
    let wishes = Wishes {
        model: args.model,
        session: args.session,
        can_ask,
        approve,
        thinking: args.thinking,
        max_steps: args.max_steps,
    };
    let mut interrupts = Interrupts::listen()?;
    let agent = tokio::select! {
        agent = compose::agent(context, Arc::new(catalog), wishes) => agent?,
        () = interrupts.next() => return Err(Failure::new(Code::Interrupted, "interrupted")),
    };

    let (ops, op_queue) = mpsc::channel(AHEAD);
    let (events, mut event_queue) = mpsc::channel(AHEAD);
    let mut front = Front::new(args.json, &context.surroundings, context.verbose > 0);
    let running = tokio::spawn(agent.run(op_queue, events));
    // The agent listens until it has ended, so a message that cannot be sent means that it has.
    let _ = ops.send(message).await;
    tokio::spawn(interrupts.stop(ops.clone()));
    show(&ops, &mut event_queue, &mut front).await?;
    match running.await {
        Ok(Ok(())) => front.result(),
        Ok(Err(error)) => Err(Failure::new(Code::Failed, error)),
        Err(error) => Err(Failure::new(Code::Failed, format!("the agent broke off: {error}"))),
    }
}

/// Shows events until the agent has ended.
async fn show(ops: &mpsc::Sender<Op>, events: &mut mpsc::Receiver<Envelope>, front: &mut Front) -> Outcome {
    while let Some(envelope) = events.recv().await {
        if matches!(envelope.event, Event::Closed) {
            front.show(&envelope)?;
            return Ok(());
        }
        match front.show(&envelope)? {
            Wish::Nothing => {}
            Wish::End => {
                let _ = ops.send(Op::Shutdown).await;
            }
            Wish::Ask(id) => answer_later(ops.clone(), id),
        }
    }
    Ok(())
}

/// Reads the decision from the terminal while the events go on.
fn answer_later(ops: mpsc::Sender<Op>, id: ApprovalId) {
    ask("allow? [y]es, for the [s]ession, [N]o: ");
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        let decision = match (read, line.trim().to_ascii_lowercase().as_str()) {
            (Ok(1..), "y" | "yes") => Decision::Once,
            (Ok(1..), "s" | "session") => Decision::Session,
            _ => Decision::Deny,
        };
        let _ = ops.blocking_send(Op::Approve { id, decision });
    });
}
