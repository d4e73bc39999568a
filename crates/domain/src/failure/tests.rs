use super::*;
use crate::Reach;

fn class(http: u16, code: i64, subcode: Option<i64>) -> ErrorClass {
    ErrorClass::of_cloud_api(&ProviderError { http, code, subcode, message: String::new() })
}

#[test]
fn every_code_that_a_send_may_be_refused_with_has_its_class() {
    use ErrorClass::*;
    let table: &[(ErrorClass, &[i64])] = &[
        (Throughput, &[130_429]),
        (Maintenance, &[131_057, 2_494_100]),
        (Pair, &[131_056]),
        (Transient, &[1, 2, 131_000, 131_014, 131_016, 131_036, 131_053, 131_208, 132_069, 133_004, 134_101]),
        (Transient, &[135_000]),
        (Quota, &[4, 613, 80_007, 131_048, 131_064]),
        (Token, &[0, 190]),
        (Account, &[3, 10, 33, 104, 200, 210, 299, 368, 131_005, 131_031, 131_037, 131_042, 131_045]),
        (Account, &[133_000, 133_005, 133_006, 133_008, 133_009, 133_010, 133_015, 133_016]),
        (Account, &[2_388_001, 2_388_012, 2_388_091, 2_388_093, 2_388_103, 2_593_079, 2_593_085]),
        (Recipient, &[130_403, 130_472, 131_026, 131_047, 131_049, 131_050]),
        (Template, &[132_001, 132_015, 132_016, 134_102]),
        (Permanent, &[100, 506, 130_497, 130_501, 131_001, 131_006, 131_008, 131_009, 131_020, 131_021]),
        (Permanent, &[131_030, 131_041, 131_044, 131_051, 131_052, 131_055, 131_059, 131_060, 131_062]),
        (Permanent, &[131_063, 131_201, 131_202, 131_204, 131_207, 131_209, 131_213, 131_214, 131_215]),
        (Permanent, &[132_000, 132_005, 132_007, 132_008, 132_012, 132_018, 132_068]),
        (Permanent, &[134_011, 134_100, 137_000, 138_000, 138_006, 138_009, 138_013, 138_025]),
    ];
    for (wanted, codes) in table {
        for code in *codes {
            // Throttles have come as 400 and as 429, faults as 400 and as 500: the code decides.
            for http in [400, 403, 429, 500, 503] {
                assert_eq!(class(http, *code, None), *wanted, "{http} {code}");
            }
        }
    }
    assert_eq!(class(400, 100, Some(33)), Account, "the number itself is gone");
}

#[test]
fn an_unknown_code_is_judged_by_the_status() {
    for (http, wanted) in [
        (400, ErrorClass::Permanent),
        (401, ErrorClass::Token),
        (404, ErrorClass::Permanent),
        (429, ErrorClass::Throughput),
        (500, ErrorClass::Transient),
        (503, ErrorClass::Transient),
    ] {
        assert_eq!(class(http, 999_999, None), wanted, "{http}");
    }
}

#[test]
fn what_lies_with_the_user_is_known_of_the_user() {
    for code in 0..150_000 {
        let lies_with_user = class(400, code, None) == ErrorClass::Recipient;
        assert_eq!(Reach::refused(code, None).is_some(), lies_with_user, "{code}");
    }
}

#[test]
fn fewer_tries_and_longer_waits_are_for_what_is_tried_again() {
    for code in 0..150_000 {
        if ErrorClass::most_tries(code).is_some() || ErrorClass::least_wait(code).is_some() {
            assert_eq!(class(400, code, None), ErrorClass::Transient, "{code}");
        }
    }
    assert_eq!(ErrorClass::most_tries(131_053), Some(3));
    assert_eq!(ErrorClass::most_tries(135_000), Some(2));
    assert_eq!(ErrorClass::most_tries(131_016), None);
    assert_eq!(ErrorClass::least_wait(134_101), Some(Duration::from_secs(600)));
}

#[test]
fn a_quota_is_the_app_s_the_account_s_or_the_channel_s() {
    for (code, breadth) in [
        (4, Breadth::App),
        (80_007, Breadth::Account),
        (613, Breadth::Channel),
        (131_048, Breadth::Channel),
        (131_064, Breadth::Channel),
    ] {
        assert_eq!(class(400, code, None), ErrorClass::Quota);
        assert_eq!(ErrorClass::breadth(code), breadth, "{code}");
    }
}

#[test]
fn a_hint_is_one_sentence_and_unknown_codes_have_none() {
    let codes = (0..3_000).chain(80_000..81_000).chain(130_000..140_000).chain([2_494_100, 2_593_109]);
    let hints: Vec<&str> = codes.filter_map(hint).collect();
    assert!(hints.len() > 60);
    for hint in hints {
        assert!(hint.ends_with('.') && !hint.contains(". ") && !hint.contains("  "), "{hint}");
    }
    assert_eq!(hint(999_999), None);
    assert_eq!(hint(-1), None);
}
