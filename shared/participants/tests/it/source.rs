//! Where participants come from: one of two settings, and a file that is read again.

use std::fs;
use std::time::Duration;

use pix_inside::Ends;
use pix_participants::{Current, FILE, Origin, READY, SETTLEMENT, Source};
use pix_runtime::ops::Readiness;
use pix_runtime::{Key, Settings};
use pix_testkit::{Seat, StopSwitch, TestPki, eventually};

use crate::ispb;

const SOON: Duration = Duration::from_secs(20);

static KEYS: &[Key] = &[SETTLEMENT, FILE];

#[tokio::test]
async fn exactly_one_source_is_set() {
    let inside = TestPki::shared().await.inside("dict");
    let own = inside.identity;
    let ends = Ends::from_pem(own.certificate_pem, own.key_pem, inside.ca_pem);
    let read = |flags: &[&str]| {
        let settings = Settings::parse("dict", KEYS, flags.to_vec(), []).unwrap();
        let source = Source::read(&settings, &ends);
        (source, settings.finish().map_err(|faults| faults.to_string()))
    };
    let (url, file) = (
        "--settlement.url=https://127.0.0.1:4003",
        "--participants.file=p.toml",
    );
    assert!(matches!(read(&[url]), (Some(Source::Settlement(_)), Ok(()))));
    assert!(matches!(read(&[file]), (Some(Source::File(_)), Ok(()))));
    for (flags, fault) in [
        (&[][..], "settlement.url: is missing"),
        (&[url, file], "two sources of participants"),
        (&["--settlement.url=not a URL"], "cannot be called"),
    ] {
        let (source, faults) = read(flags);
        assert!(source.is_none());
        assert!(
            faults.clone().is_err_and(|text| text.contains(fault)),
            "{faults:?}"
        );
    }
}

#[tokio::test]
async fn a_file_is_read_again_and_its_faults_change_nothing() {
    let pki = TestPki::shared().await;
    let seat = |ispb| Seat {
        ispb,
        settler: None,
        opening_balance: "1.00",
    };
    let folder = pki.seed(&[seat("11111111")]);
    let path = folder.path().join("participants.toml");
    let sound = fs::read_to_string(&path).unwrap();
    let database = pix_testkit::empty_database("dict").await;
    let pool = pix_runtime::pg::pool(&database.url(), 1).await.unwrap();
    let opened = Source::File(path.clone()).open(pool).await;
    let (directory, follower, standing) = opened.unwrap_or_else(|e| panic!("{e}"));
    let current = Current::new(directory);
    let readiness = Readiness::of(&[READY]);
    let (_stop, stopping) = StopSwitch::new();
    tokio::spawn(follower.run(current.clone(), readiness.clone(), stopping));
    assert!(standing.now().known && standing.now().origin == Origin::File);

    fs::write(&path, "[[participant]]\nispb = \"1\"\nname = \"A\"\n").unwrap();
    eventually("the fault is told", SOON, || async {
        let now = standing.now();
        now.fault.filter(|_| !now.followed)
    })
    .await;
    assert!(current.load().by_ispb(ispb("11111111")).is_some());
    assert!(readiness.is_ready());

    fs::write(
        &path,
        format!("{sound}[[participant]]\nispb = \"22222222\"\nname = \"B\"\n"),
    )
    .unwrap();
    eventually("the newcomer is known", SOON, || async {
        current.load().by_ispb(ispb("22222222")).map(drop)
    })
    .await;
    eventually("all is well again", SOON, || async {
        let now = standing.now();
        (now.followed && now.fault.is_none()).then_some(())
    })
    .await;
}
