//! Keys, chains, prices, addresses, roles: what is read out of headers, paths and fields.

use proptest::collection::vec;
use proptest::prelude::*;
use toystore::roles::Address;

use crate::inputs::price;
use crate::properties::words;

proptest! {
    #[test]
    fn any_text_is_a_word_or_none(text in any::<String>()) {
        words::word(&text);
    }

    #[test]
    fn a_key_is_visible_ascii(
        bytes in prop_oneof![
            vec(any::<u8>(), 0..300),
            vec(0x20..0x80_u8, 0..20),
            vec(0x21..0x7f_u8, 250..260),
        ],
    ) {
        words::key(&bytes);
    }

    #[test]
    fn a_chain_is_32_hexadecimal_digits(
        text in prop_oneof!["[0-9a-fA-F]{32}", "[0-9a-fA-F]{31,33}", "[+-]?[0-9a-fA-Fg]{31}"],
    ) {
        words::chain(&text);
    }

    #[test]
    fn a_price_is_in_whole_cents(
        amount in prop_oneof![
            any::<f64>(),
            (0..200_000_000_u32).prop_map(|cents| f64::from(cents) / 100.0),
            (0..2_000_000_u32).prop_map(|mills| f64::from(mills) / 1_000.0),
        ],
    ) {
        words::price(amount);
    }

    #[test]
    fn a_price_that_is_written_with_two_decimals_is_one(price in price()) {
        let text = format!("{}.{:02}", price.cents() / 100, price.cents() % 100);
        let amount = text.parse().expect("a number");
        prop_assert_eq!(toystore::wire::toy::Price::from_decimal(amount), Some(price));
    }

    #[test]
    fn an_address_is_a_host_and_a_port(
        text in prop_oneof![
            "[ -~]{0,12}:[0-9+-]{0,6}",
            "\\[[0-9a-f:.]{0,12}\\]?:[0-9]{1,5}",
            "[a-z.]{1,9}[:/@#?][a-z0-9:]{0,9}",
            "\\PC{0,6}:80",
        ],
    ) {
        words::address(&text);
    }

    #[test]
    fn every_socket_address_is_an_address(address in any::<std::net::SocketAddr>()) {
        let scoped = address.to_string().contains('%');
        if address.port() > 0 && !scoped {
            prop_assert!(Address::try_from(address.to_string()).is_ok(), "{}", address);
        }
    }

    #[test]
    fn a_role_is_printed_as_it_is_read(text in "(catalog|frontend|order)?-?\\+?[0-9]{0,11}") {
        words::role(&text);
    }
}
