//! Figures of all workers.
//!
//! Purpose: ask every worker, wait a bounded time, and keep the last answer of each, so that no sum
//! ever goes back.
//! Never: make a worker wait, or ask so often that it costs anything.

use std::cell::{Ref, RefCell};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::bus::{Outbox, Report, SendError, SessionQuestion, SessionView, ToWorker};
use crate::observe::{Counters, Figures};

/// How long a page waits for a busy worker.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Least time between two questions to a worker, however many ask for pages.
const SPACING: Duration = Duration::from_millis(50);

/// A worker, as far as figures go.
#[derive(Debug)]
pub(super) struct Source {
    outbox: Outbox,
    /// Its counters, which need no asking.
    pub(super) counters: Arc<Counters>,
    /// The kernel's number of its thread.
    pub(super) thread: Option<u32>,
    /// What it said last.
    pub(super) last: Option<Box<Report>>,
    /// It answered the last question.
    pub(super) responsive: bool,
    /// Questions it did not answer in time.
    pub(super) timeouts: u64,
}

impl Source {
    pub(super) fn new(outbox: Outbox, counters: Arc<Counters>, thread: Option<u32>) -> Self {
        Self { outbox, counters, thread, last: None, responsive: false, timeouts: 0 }
    }
}

/// All workers' figures.
#[derive(Debug)]
pub(super) struct Scraper {
    patience: Duration,
    /// By worker id.
    sources: RefCell<Vec<Source>>,
    /// The sum of what they said last.
    figures: RefCell<Figures>,
    /// When workers were asked last; held while they are being asked.
    last_begin: Mutex<Option<Instant>>,
}

impl Scraper {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            sources: RefCell::default(),
            figures: RefCell::default(),
            last_begin: Mutex::default(),
        }
    }

    /// The workers have started.
    pub(super) fn set_sources(&self, sources: Vec<Source>) {
        self.sources.replace(sources);
    }

    pub(super) fn sources(&self) -> Ref<'_, Vec<Source>> {
        self.sources.borrow()
    }

    pub(super) fn figures(&self) -> Ref<'_, Figures> {
        self.figures.borrow()
    }

    /// Asks every worker, unless that was done after `asked`, when the page was asked for.
    pub(super) async fn refresh(&self, asked: Instant) {
        let mut last_begin = self.last_begin.lock().await;
        if let Some(last) = *last_begin {
            if last > asked {
                return;
            }
            sleep_until(last + SPACING).await;
        }
        let begin = Instant::now();
        *last_begin = Some(begin);
        let (sent, mut answers) = self.ask();
        let mut waiting = sent.iter().filter(|sent| sent.is_ok()).count();
        while waiting > 0 {
            // The channel ends early when a worker ends with the question in its mail.
            let Ok(Some(report)) = timeout_at(begin + self.patience, answers.recv()).await else {
                break;
            };
            waiting -= 1;
            self.take(report);
        }
        let late = begin.elapsed() >= self.patience;
        for (source, sent) in self.sources.borrow_mut().iter_mut().zip(sent) {
            let silent =
                !source.responsive && (late && sent.is_ok() || sent == Err(SendError::Busy));
            source.timeouts += u64::from(silent);
        }
        let sources = self.sources.borrow();
        let reports = sources.iter().filter_map(|source| source.last.as_deref());
        self.figures.borrow_mut().set_to_sum(reports.map(|report| &report.figures));
    }

    /// Describes sessions, `count_max` of each worker at most. A worker that is busy is left out.
    pub(super) async fn sessions(&self, id: Option<u32>, count_max: usize) -> Vec<SessionView> {
        let (to, mut answers) = {
            let mut sources = self.sources.borrow_mut();
            let (to, answers) = mpsc::channel(sources.len().max(1));
            for source in sources.iter_mut() {
                let question = SessionQuestion { id, count_max, to: to.clone() };
                if source.outbox.send(ToWorker::Sessions(question)).is_err() {
                    source.timeouts += 1;
                }
            }
            (to, answers)
        };
        drop(to);
        let until = Instant::now() + self.patience;
        let mut sessions = Vec::new();
        while let Ok(Some(mut views)) = timeout_at(until, answers.recv()).await {
            sessions.append(&mut views);
        }
        sessions.sort_unstable_by_key(|view| view.id);
        sessions
    }

    /// Keeps what a worker said, asked or on its own at its end.
    pub(super) fn take(&self, report: Box<Report>) {
        if let Some(source) = self.sources.borrow_mut().get_mut(report.worker.index()) {
            source.responsive = true;
            source.last = Some(report);
        }
    }

    /// Puts the question into every worker's mail: who has it, and where the answers come.
    fn ask(&self) -> (Vec<Result<(), SendError>>, mpsc::Receiver<Box<Report>>) {
        let mut sources = self.sources.borrow_mut();
        let (reports, answers) = mpsc::channel(sources.len().max(1));
        let ask = |source: &mut Source| {
            source.responsive = false;
            source.outbox.send(ToWorker::Report(reports.clone()))
        };
        (sources.iter_mut().map(ask).collect(), answers)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::base::{EndpointId, WorkerId};
    use crate::bus::{Inbox, mail};
    use crate::io::{BufferSizes, Driver, DriverStats, Fake, Faults};

    /// Mail as a worker has it.
    fn worker() -> (Source, Inbox) {
        let (driver, _) = Fake::new(BufferSizes::default(), 1, Faults::none()).unwrap();
        let (outbox, inbox) = mail(driver.waker());
        (Source::new(outbox, Arc::default(), None), inbox)
    }

    fn report(worker: u16, commands: u64) -> Box<Report> {
        let mut figures = Figures::default();
        figures.adopt(["app"].into_iter(), std::iter::empty());
        for _ in 0..commands {
            figures.commands(EndpointId(0), 1_000_000, 1);
        }
        let driver = DriverStats::default();
        Box::new(Report { worker: WorkerId(worker), sessions: 1, logging_in: 0, driver, figures })
    }

    /// Answers the questions there are.
    fn answer(inbox: &Inbox, worker: u16, commands: u64) -> usize {
        let mut questions = 0;
        while let Some(ToWorker::Report(to)) = inbox.next() {
            questions += 1;
            to.try_send(report(worker, commands)).unwrap();
        }
        questions
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(future)
    }

    fn commands(scraper: &Scraper) -> u64 {
        scraper.figures().endpoints.iter().map(|endpoint| endpoint.commands.count()).sum()
    }

    #[test]
    fn a_silent_worker_costs_a_bounded_wait_and_its_last_figures_stay() {
        let (quick, quick_mail) = worker();
        let (stuck, stuck_mail) = worker();
        let scraper = Scraper::new(Duration::from_millis(20));
        scraper.set_sources(vec![quick, stuck]);
        scraper.take(report(1, 5));
        let answering = thread::spawn(move || {
            while answer(&quick_mail, 0, 3) == 0 {
                thread::yield_now();
            }
            quick_mail
        });
        run(scraper.refresh(Instant::now()));
        let _quick_mail = answering.join().unwrap();
        assert_eq!(commands(&scraper), 3 + 5);
        let flags =
            |read: fn(&Source) -> u64| scraper.sources().iter().map(read).collect::<Vec<_>>();
        assert_eq!(flags(|source| u64::from(source.responsive)), [1, 0]);
        assert_eq!(flags(|source| source.timeouts), [0, 1]);
        // It wakes up; who asked is gone, and the figures do not go back.
        while let Some(ToWorker::Report(to)) = stuck_mail.next() {
            assert!(to.try_send(report(1, 6)).is_err());
        }
    }

    #[test]
    fn a_worker_that_has_ended_is_not_waited_for() {
        let (ended, mail) = worker();
        drop(mail);
        let scraper = Scraper::new(Duration::from_secs(600));
        scraper.set_sources(vec![ended]);
        scraper.take(report(0, 7));
        run(scraper.refresh(Instant::now()));
        assert_eq!(commands(&scraper), 7);
        let sources = scraper.sources();
        assert_eq!((sources[0].responsive, sources[0].timeouts), (false, 0));
    }

    #[test]
    fn who_asks_together_is_answered_together() {
        let (source, mail) = worker();
        let scraper = Scraper::new(Duration::from_secs(600));
        scraper.set_sources(vec![source]);
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let answering = thread::spawn(move || {
            let mut questions = 0;
            while stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                questions += answer(&mail, 0, 1);
                thread::yield_now();
            }
            questions
        });
        run(async {
            let asked = Instant::now();
            for _ in 0..100 {
                scraper.refresh(asked).await;
            }
        });
        drop(stop);
        assert_eq!(answering.join().unwrap(), 1);
        assert_eq!(commands(&scraper), 1);
    }
}
