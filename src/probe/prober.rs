//! A known prober: what it is called and what it does by default.

use std::fmt;

/// A product that sends health checks, or traffic that looks like them.
#[derive(Clone, Debug, Default)]
pub struct Prober {
    /// Stable id, such as `aws-alb`.
    pub id: Box<str>,
    /// The product's name.
    pub name: Box<str>,
    /// What kind of product it is.
    pub class: Class,
    /// How well it is known.
    pub basis: Basis,
    /// What it does unless it is told otherwise.
    pub defaults: Defaults,
    /// Many sources check one target on their own: several times the interval's rate is normal.
    pub fanout: bool,
    /// It usually comes through the load balancer, like a client.
    pub external: bool,
    /// It looks like a check and is none.
    pub veto: bool,
    /// It is a program for any purpose, which says nothing of whose check it is.
    pub tool: bool,
    /// How it looks, and what to know of it.
    pub looks: Box<str>,
    /// Where that is known from.
    pub sources: Box<[Box<str>]>,
    /// A request of it, where it sends one.
    pub example: Option<Box<str>>,
    /// Networks that its checks come from; from elsewhere its source is unexpected.
    pub(super) from: Box<[usize]>,
}

impl Prober {
    /// Whether its checks decide what traffic a target gets.
    pub fn decides(&self) -> bool {
        !self.external && !matches!(self.class, Class::Monitor | Class::Local)
    }
}

/// What a prober does unless it is told otherwise; `None` where it has no default or none is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Defaults {
    /// Seconds between checks.
    pub interval: Option<f64>,
    /// Seconds until a check is given up.
    pub timeout: Option<f64>,
    /// Passed checks in a row that make a target healthy.
    pub rise: Option<u32>,
    /// Failed checks in a row that make it unhealthy.
    pub fall: Option<u32>,
    /// From where the interval counts.
    pub timer: Option<Timer>,
    /// Whether it keeps its connection.
    pub connection: Option<Keeps>,
    /// How it may end a connection.
    pub close: Box<[Close]>,
    /// HTTP statuses that pass: ranges and single ones such as `200,301-302`, or `any`.
    pub ok_http: Option<Box<str>>,
    /// HTTP statuses that count as a warning.
    pub warn_http: Option<Box<str>>,
    /// gRPC statuses that pass, in the same notation.
    pub ok_grpc: Option<Box<str>>,
    /// It has TCP checks, which pass when the handshake is answered.
    pub tcp: bool,
    /// It can be told what the body of an answer has to say.
    pub body: bool,
}

macro_rules! ids {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $id:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$of])* $variant,)+ }

        impl $name {
            /// Stable id.
            pub fn id(self) -> &'static str {
                match self { $($name::$variant => $id,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.id())
            }
        }
    };
}

ids! {
    /// Kinds of prober.
    Class {
        /// Load balancer of a cloud.
        CloudLb = "cloud-lb",
        /// DNS failover of a cloud.
        CloudDns = "cloud-dns",
        /// Orchestrator of containers.
        Orchestrator = "orchestrator",
        /// Proxy or load balancer in software.
        Proxy = "proxy",
        /// Service discovery.
        Discovery = "discovery",
        /// Content delivery network.
        Cdn = "cdn",
        /// Load balancer as a device.
        Appliance = "appliance",
        /// Platform that runs applications.
        Paas = "paas",
        /// Uptime monitor or monitoring agent.
        Monitor = "monitor",
        /// Inside the host or container that it checks.
        Local = "local",
        /// Service mesh.
        Mesh = "mesh",
        /// A program of which no more is known.
        #[default]
        Other = "other",
    }
}

ids! {
    /// How well something is known.
    Basis {
        /// The prober's own code says so.
        Source = "source",
        /// Its vendor's documentation says so.
        Docs = "docs",
        /// It was captured.
        Lab = "lab",
        /// Others say so.
        Secondary = "secondary",
        /// Nobody confirmed it.
        #[default]
        Unverified = "unverified",
    }
}

ids! {
    /// From where an interval counts.
    Timer {
        /// From the start of one check to the start of the next.
        #[default]
        Start = "start",
        /// From the end of one check to the start of the next.
        End = "end",
    }
}

ids! {
    /// What a prober does with its connection after a check.
    Keeps {
        /// One connection per check.
        #[default]
        Close = "close",
        /// It goes on on the same connection.
        Keepalive = "keepalive",
        /// Either, as configured.
        Either = "either",
    }
}

ids! {
    /// How a prober ends a connection.
    Close {
        /// FIN.
        #[default]
        Fin = "fin",
        /// RST.
        Rst = "rst",
        /// It waits for the FIN of the target.
        ServerFirst = "server-first",
        /// RST inside a body that it does not care for.
        RstMidBody = "rst-mid-body",
        /// Not at all for a long time.
        Leak = "leak",
    }
}
