//! The known probers and how each is recognised, from the file that is built in and from the
//! user's own.

use super::evidence::{Evidence, EvidenceSet};
use super::file::{Entry, File, FileError, Match, Source};
use super::pattern::{Cidr, Expression, Text};
use super::prober::{Defaults, Prober};
use crate::packet::Address;
use regex::{RegexSet, RegexSetBuilder};
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use toml::Spanned;

/// The file that is built in.
const BUILT_IN: &str = include_str!("probers.toml");
/// Memory that the expressions for paths may take together, bytes.
const SET_MAX: usize = 1 << 25;
/// Probers, rules and networks of all files together; a hundred times what is built in.
const ENTRIES_MAX: usize = 10_000;

/// All that is known of probers.
#[derive(Debug)]
pub struct Catalogue {
    probers: Vec<Arc<Prober>>,
    pub(super) rules: Vec<Rule>,
    pub(super) nets: Vec<Net>,
    /// User-Agent conditions of all rules; [`Rule::agent`] is an index into it. One by one: most are no
    /// expressions, each User-Agent is looked at once, and a set of them would take longer to build
    /// than most captures to analyse.
    agents: Vec<Text>,
    /// Which of [`Catalogue::agents`] name a product, not a program for any purpose.
    named: Vec<bool>,
    paths: RegexSet,
    /// What a match of [`Catalogue::paths`] is evidence of.
    signs: Vec<Evidence>,
}

/// A way to recognise a prober.
#[derive(Debug)]
pub(super) struct Rule {
    /// Index into [`Catalogue::probers`].
    pub(super) prober: usize,
    pub(super) when: Match,
    /// Index of the User-Agent's condition, if it has one other than that there is none.
    pub(super) agent: Option<usize>,
    /// Networks in one of which the source has to be, and those in none of which it may be.
    pub(super) inside: Vec<usize>,
    pub(super) outside: Vec<usize>,
    pub(super) needs: EvidenceSet,
}

/// A network of sources.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) id: String,
    pub(super) cidr: Vec<Cidr>,
    pub(super) db: i32,
}

impl Net {
    pub(super) fn holds(&self, ip: Address) -> bool {
        self.cidr.iter().any(|cidr| cidr.holds(ip))
    }
}

impl Catalogue {
    /// What is built in, changed and extended by files of the user, given as name and content.
    pub fn load<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Catalogue, FileError> {
        let mut merged = Merged::default();
        merged.add(&Source { name: "probers.toml", text: BUILT_IN })?;
        for (name, text) in files {
            merged.add(&Source { name, text })?;
        }
        merged.seal()
    }

    /// What is built in, made once.
    pub fn built_in() -> Result<Arc<Catalogue>, FileError> {
        static BUILT_IN: LazyLock<Result<Arc<Catalogue>, FileError>> =
            LazyLock::new(|| Catalogue::load([]).map(Arc::new));
        BUILT_IN.clone()
    }

    /// The known probers in the order of their files.
    pub fn probers(&self) -> &[Arc<Prober>] {
        &self.probers
    }

    /// The prober with this id.
    pub fn prober(&self, id: &str) -> Option<&Arc<Prober>> {
        self.probers.iter().find(|prober| &*prober.id == id)
    }

    /// Which conditions on the User-Agent hold, and whether one of them names a product.
    pub(super) fn agents(&self, agent: &str) -> (Arc<[u16]>, bool) {
        let holds = |at: &u16| self.agents[usize::from(*at)].holds(Some(agent));
        let hits: Arc<[u16]> = (0..self.agents.len() as u16).filter(holds).collect();
        let named = hits.iter().any(|hit| self.named[usize::from(*hit)]);
        (hits, named)
    }

    /// Whether what a head asks for is made for checks; cheaper than [`Catalogue::path_signs`].
    pub(super) fn is_check_path(&self, head: &[u8]) -> bool {
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        target == b"*"
            || line.starts_with(b"OPTIONS / ")
            || std::str::from_utf8(target).is_ok_and(|target| self.paths.is_match(target))
    }

    /// What a request target speaks for.
    pub(super) fn path_signs(&self, target: &str) -> EvidenceSet {
        let mut signs = EvidenceSet::default();
        for hit in self.paths.matches(target).iter() {
            signs.set(self.signs[hit], true);
        }
        let weak = signs.has(Evidence::PathWeak) && !signs.has(Evidence::PathStrong);
        let mut rest = EvidenceSet::default();
        signs.iter().filter(|sign| *sign != Evidence::PathWeak || weak).for_each(|sign| {
            rest.set(sign, true);
        });
        rest
    }
}

/// Files so far, the later over the earlier.
#[derive(Default)]
struct Merged {
    probers: Vec<(Prober, Vec<Match>, Vec<String>)>,
    nets: Vec<Net>,
    paths: Vec<(Expression, Evidence)>,
}

impl Merged {
    fn add(&mut self, source: &Source<'_>) -> Result<(), FileError> {
        let file = source.parse()?;
        let File { disable, paths, net, prober } = file;
        let at = |id: &Spanned<String>| id.span().start;
        for net in net {
            self.nets.retain(|known| known.id != net.id);
            self.nets.push(Net { id: net.id, cidr: net.cidr, db: net.db });
        }
        let mut fresh = BTreeSet::new();
        for entry in prober {
            if !fresh.insert(entry.id.get_ref().clone()) {
                let what = format!("`{}` is there twice", entry.id.get_ref());
                return Err(source.error(at(&entry.id), what));
            }
            self.check_nets(source, &entry)?;
            self.enter(source, entry)?;
        }
        for id in &disable {
            let known = self.probers.len();
            self.probers.retain(|(prober, ..)| *prober.id != **id.get_ref());
            if self.probers.len() == known {
                return Err(source.error(at(id), format!("there is no prober `{}`", id.get_ref())));
            }
        }
        for (list, sign) in [
            (paths.strong, Evidence::PathStrong),
            (paths.weak, Evidence::PathWeak),
            (paths.scrape, Evidence::ScrapePath),
        ] {
            self.paths.extend(list.into_iter().map(|expression| (expression, sign)));
        }
        let rules: usize = self.probers.iter().map(|(_, rules, _)| rules.len()).sum();
        if rules + self.probers.len() + self.nets.len() + self.paths.len() > ENTRIES_MAX {
            return Err(source.error(0, format!("more than {ENTRIES_MAX} entries")));
        }
        Ok(())
    }

    fn check_nets(&self, source: &Source<'_>, entry: &Entry) -> Result<(), FileError> {
        let used =
            entry.matches.iter().flat_map(|rule| &rule.net).chain(entry.from.iter().flatten());
        for net in used {
            let id = net.get_ref().trim_start_matches('!');
            if !self.nets.iter().any(|known| known.id == id) {
                return Err(source.error(net.span().start, format!("there is no net `{id}`")));
            }
        }
        Ok(())
    }

    fn enter(&mut self, source: &Source<'_>, entry: Entry) -> Result<(), FileError> {
        let id = entry.id.get_ref().clone();
        let error = |what: &str| Err(source.error(entry.id.span().start, format!("`{id}` {what}")));
        let (mut prober, mut rules, mut from) = match &entry.extends {
            Some(base) => {
                match self.probers.iter().find(|(known, ..)| *known.id == **base.get_ref()) {
                    Some(known) => known.clone(),
                    None => {
                        let what = format!("there is no prober `{}`", base.get_ref());
                        return Err(source.error(base.span().start, what));
                    }
                }
            }
            None => Default::default(),
        };
        let Some(name) = entry.name.or_else(|| entry.extends.map(|_| prober.name.to_string()))
        else {
            return error("has no name");
        };
        prober.id = id.as_str().into();
        prober.name = name.into();
        prober.class = entry.class.unwrap_or(prober.class);
        prober.basis = entry.basis.unwrap_or(prober.basis);
        prober.fanout = entry.fanout.unwrap_or(prober.fanout);
        prober.external = entry.external.unwrap_or(prober.external);
        prober.veto = entry.veto.unwrap_or(prober.veto);
        prober.tool = entry.tool.unwrap_or(prober.tool);
        prober.looks = entry.looks.map_or(prober.looks, Into::into);
        if !entry.sources.is_empty() {
            prober.sources = entry.sources.into_iter().map(Into::into).collect();
        }
        if prober.sources.is_empty() {
            return error("does not say where it is known from (sources)");
        }
        let before = prober.defaults;
        prober.defaults = Defaults {
            interval: entry.interval_s.or(before.interval),
            timeout: entry.timeout_s.or(before.timeout),
            rise: entry.rise.or(before.rise),
            fall: entry.fall.or(before.fall),
            timer: entry.timer.or(before.timer),
            connection: entry.connection.or(before.connection),
            close: entry.close.map_or(before.close, Into::into),
            ok_http: entry.ok_http.map(|ok| ok.0).or(before.ok_http),
            warn_http: entry.warn_http.map(|ok| ok.0).or(before.warn_http),
            ok_grpc: entry.ok_grpc.map(|ok| ok.0).or(before.ok_grpc),
            tcp: entry.tcp.unwrap_or(before.tcp),
            body: entry.body.unwrap_or(before.body),
        };
        if let Some(nets) = entry.from {
            from = nets.into_iter().map(Spanned::into_inner).collect();
        }
        rules.extend(entry.matches);
        prober.example =
            rules.iter().find_map(|rule| rule.example.as_ref()?.request.as_deref()).map(Into::into);
        match self.probers.iter_mut().find(|(known, ..)| *known.id == *id) {
            Some(known) => *known = (prober, rules, from),
            None => self.probers.push((prober, rules, from)),
        }
        Ok(())
    }

    fn seal(self) -> Result<Catalogue, FileError> {
        let too_large = |_| FileError {
            file: "probers".to_owned(),
            line: 1,
            what: format!("the expressions together take more than {SET_MAX} bytes"),
        };
        let net = |id: &str| self.nets.iter().position(|net| net.id == id);
        let (mut probers, mut rules) = (Vec::new(), Vec::new());
        let (mut agents, mut named) = (Vec::<Text>::new(), Vec::<bool>::new());
        for (mut prober, matches, from) in self.probers {
            prober.from = from.iter().filter_map(|id| net(id)).collect();
            for when in matches {
                let agent = when.ua.as_ref().filter(|text| !text.is_absent()).map(|text| {
                    let known = agents.iter().position(|known| known == text);
                    let at = known.unwrap_or_else(|| {
                        agents.push(text.clone());
                        named.push(false);
                        agents.len() - 1
                    });
                    named[at] |= !prober.tool && when.needs.is_empty() && when.net.is_empty();
                    at
                });
                let (outside, inside): (Vec<_>, Vec<_>) =
                    when.net.iter().map(|net| net.get_ref()).partition(|id| id.starts_with('!'));
                let mut needs = EvidenceSet::default();
                when.needs.iter().for_each(|evidence| needs.set(*evidence, true));
                rules.push(Rule {
                    prober: probers.len(),
                    agent,
                    inside: inside.into_iter().filter_map(|id| net(id)).collect(),
                    outside: outside.into_iter().filter_map(|id| net(&id[1..])).collect(),
                    needs,
                    when,
                });
            }
            probers.push(Arc::new(prober));
        }
        let (paths, signs): (Vec<_>, Vec<_>) =
            self.paths.into_iter().map(|(path, sign)| (path.0.as_str().to_owned(), sign)).unzip();
        Ok(Catalogue {
            probers,
            rules,
            nets: self.nets,
            agents,
            named,
            paths: RegexSetBuilder::new(&paths).size_limit(SET_MAX).build().map_err(too_large)?,
            signs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINE: &str = "[[prober]]\nid = 'acme'\nname = 'ACME checker'\nsources = ['wiki']\n\
        interval_s = 7\n[[prober.match]]\non = 'http'\ndb = 45\nua = { prefix = 'AcmeProbe/' }\n";

    fn refusal(text: &str) -> String {
        Catalogue::load([("mine.toml", text)]).unwrap_err().to_string()
    }

    #[test]
    fn what_is_built_in_is_sound() {
        let catalogue = Catalogue::load([]).unwrap();
        assert!(catalogue.probers().len() > 50);
        for prober in catalogue.probers() {
            assert!(
                prober.id.bytes().all(|b| b.is_ascii_lowercase() || b"-0123456789".contains(&b))
            );
            assert!(!prober.sources.iter().any(|source| source.is_empty()), "{}", prober.id);
            let rules = catalogue
                .rules
                .iter()
                .filter(|rule| *catalogue.probers[rule.prober].id == *prober.id);
            for rule in rules {
                assert!(rule.when.example.is_some(), "{} has no example", prober.id);
            }
            let known =
                catalogue.rules.iter().any(|rule| catalogue.probers[rule.prober].id == prober.id);
            assert!(known || !prober.looks.is_empty(), "{}", prober.id);
        }
    }

    #[test]
    fn a_user_adds_replaces_extends_and_disables() {
        let catalogue = Catalogue::load([("mine.toml", MINE)]).unwrap();
        assert!(catalogue.agents("AcmeProbe/2").1 && !catalogue.agents("curl/8").1);
        let text = "disable = ['varnish']\n[[prober]]\nid = 'haproxy'\nextends = 'haproxy'\n\
            interval_s = 1\n[[prober]]\nid = 'envoy'\nname = 'Mine'\nsources = ['x']\n";
        let catalogue = Catalogue::load([("mine.toml", text)]).unwrap();
        assert!(catalogue.prober("varnish").is_none());
        let haproxy = catalogue.prober("haproxy").unwrap();
        assert_eq!((&*haproxy.name, haproxy.defaults.interval), ("HAProxy", Some(1.0)));
        assert_eq!(haproxy.defaults.rise, Some(2));
        let rules = |id: &str| {
            catalogue.rules.iter().filter(|rule| &*catalogue.probers[rule.prober].id == id).count()
        };
        assert!(rules("haproxy") > 5);
        assert_eq!((rules("envoy"), &*catalogue.prober("envoy").unwrap().name), (0, "Mine"));
    }

    #[test]
    fn what_does_not_fit_together_is_told_with_its_line() {
        let head = "[[prober]]\nid = 'a'\nname = 'A'\nsources = ['x']\n";
        for (text, what) in [
            (format!("disable = ['nobody']\n{head}"), "mine.toml:1: there is no prober `nobody`"),
            (format!("{head}{head}"), "mine.toml:6: `a` is there twice"),
            (format!("{head}extends = 'b'\n"), "mine.toml:5: there is no prober `b`"),
            (format!("{head}from = ['mars']\n"), "mine.toml:5: there is no net `mars`"),
            ("[[prober]]\nid = 'a'\nname = 'A'\n".to_owned(), "mine.toml:2: `a` does not say"),
            ("[[prober]]\nid = 'a'\nsources = ['x']\n".to_owned(), "mine.toml:2: `a` has no name"),
        ] {
            let said = refusal(&text);
            assert!(said.starts_with(what), "{said}");
        }
    }

    #[test]
    fn paths_speak_once() {
        let catalogue = Catalogue::load([]).unwrap();
        let signs = |path: &str| catalogue.path_signs(path).iter().collect::<Vec<_>>();
        assert_eq!(signs("/healthz"), [Evidence::PathStrong]);
        assert_eq!(signs("/api/health?full=1"), [Evidence::PathStrong]);
        assert_eq!(signs("/status"), [Evidence::PathWeak]);
        assert_eq!(signs("/metrics"), [Evidence::ScrapePath]);
        for plain in ["/", "/healthy-food", "/status-of-order/7", "/upload", "/okapi"] {
            assert_eq!(signs(plain), [], "{plain}");
        }
    }
}
