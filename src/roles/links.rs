//! The links of a laboratory: where a process reaches other roles if not at their addresses.
//!
//! `toystore up --lab` has a proxy on each link between two roles, so that a link can be cut and
//! slowed. `roles.toml` stays as it is: each role that the laboratory starts learns from its
//! environment where its own calls go.

use std::path::PathBuf;

use super::{Address, Role, Roles, RolesError};

/// The environment variable: `catalog=127.0.0.1:40001,order-1=127.0.0.1:40002`.
pub const LINKS: &str = "TOYSTORE_LINKS";

impl Roles {
    /// Returns where this process reaches a role: at its address, or through a laboratory's link.
    /// `None` if the file has no such role.
    #[must_use]
    pub fn way_to(&self, role: Role) -> Option<&Address> {
        let link = self.links.iter().find(|(to, _)| *to == role);
        link.map(|(_, address)| address).or_else(|| self.address_of(role))
    }

    /// Returns the roles as a process has them whose environment names these links.
    ///
    /// # Errors
    ///
    /// If the text is no list of links to roles of the file.
    pub fn through(mut self, text: &str) -> Result<Self, RolesError> {
        self.links = text
            .split(',')
            .filter(|link| !link.is_empty())
            .map(|link| {
                let (role, address) = link.split_once('=').ok_or("write role=host:port")?;
                let role: Role = role.parse()?;
                self.address_of(role).ok_or_else(|| format!("roles.toml has no {role}"))?;
                Ok((role, Address::try_from(address.to_owned())?))
            })
            .collect::<Result<_, String>>()
            .map_err(|problem| RolesError { path: PathBuf::from(LINKS), problem })?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::wire::replication::ReplicaId;

    fn roles() -> Roles {
        Roles::parse(include_str!("../../roles.toml"), Path::new("roles.toml")).unwrap()
    }

    #[test]
    fn a_role_is_reached_through_its_link_or_else_at_its_address() {
        let roles = roles().through("order-1=127.0.0.1:4001,catalog=127.0.0.1:4002").unwrap();
        let way = |role| roles.way_to(role).map(Address::as_str);
        assert_eq!(way(Role::Catalog), Some("127.0.0.1:4002"));
        assert_eq!(way(Role::Order(ReplicaId(1))), Some("127.0.0.1:4001"));
        assert_eq!(way(Role::Order(ReplicaId(2))), Some("127.0.0.1:8092"));
        assert_eq!(way(Role::Order(ReplicaId(9))), None);
        assert_eq!(roles.address_of(Role::Catalog).unwrap().as_str(), "127.0.0.1:8081");
        assert_eq!(super::tests::roles().through("").unwrap().links, []);
    }

    #[test]
    fn a_text_that_is_no_list_of_links_is_refused() {
        for text in ["x", "order-1", "order-9=127.0.0.1:1", "order-1=127.0.0.1", "=h:1"] {
            let problem = roles().through(text).unwrap_err().to_string();
            assert!(problem.starts_with("TOYSTORE_LINKS: "), "{text}: {problem}");
        }
    }
}
