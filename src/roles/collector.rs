//! Where spans are sent: the address of a collector that takes OTLP over HTTP.

use super::Address;

/// Where a collector takes traces, if its address has no path.
const PATH: &str = "/v1/traces";

/// A collector: Jaeger, an OpenTelemetry Collector, or what else takes OTLP's JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// Its address.
    pub address: Address,
    /// The path of traces.
    pub path: String,
}

impl TryFrom<String> for Collector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = text.strip_prefix("http://").and_then(|rest| {
            let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
            let address = Address::try_from(address.to_owned()).ok()?;
            let path = if path.is_empty() { PATH.to_owned() } else { format!("/{path}") };
            path.bytes().all(|byte| byte.is_ascii_graphic()).then_some(Self { address, path })
        });
        parsed.ok_or_else(|| {
            format!(
                "{text:?} is not where a collector takes OTLP over HTTP; write http://host:port, \
                 such as http://127.0.0.1:4318"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_has_the_usual_one() {
        let parsed = |text: &str| Collector::try_from(text.to_owned()).unwrap();
        assert_eq!(parsed("http://127.0.0.1:4318").path, "/v1/traces");
        assert_eq!(parsed("http://h:1/"), parsed("http://h:1"));
        let other = parsed("http://jaeger:4318/own/path");
        assert_eq!((other.address.as_str(), &*other.path), ("jaeger:4318", "/own/path"));
        for wrong in ["", "127.0.0.1:4318", "https://h:1", "http://h", "http://h:1/a b"] {
            let problem = Collector::try_from(wrong.to_owned()).unwrap_err();
            assert!(problem.contains("write http://host:port"), "{wrong}: {problem}");
        }
    }
}
