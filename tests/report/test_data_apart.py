"""Results of different pictures are never averaged, whatever their folders are called."""

from vlprompt.report.gathering import gather, of_one_data


def record(seed, fingerprint=None, place="", **more):
    own = {
        "protocol": "few_shot",
        "data": "photos",
        "backbone": "b",
        "shots": 4,
        "method": "coop",
        "seed": seed,
    }
    said = {} if fingerprint is None else {"fingerprint": fingerprint, "place": place}
    return own | said | {"accuracy": 50.0 + seed} | more


def test_folders_of_one_name_stay_apart():
    found = gather(
        [
            record(1, "aaa", "holiday/photos"),
            record(2, "bbb", "work/photos"),
            record(3, "aaa", "holiday/photos"),
        ]
    )
    assert {key.data: len(seeds) for key, seeds in found.items()} == {
        "photos (holiday/photos)": 2,
        "photos (work/photos)": 1,
    }


def test_a_folder_whose_pictures_changed_is_another():
    found = gather([record(1, "aaa111", "x/photos"), record(2, "bbb222", "x/photos")])
    assert {key.data for key in found} == {"photos (aaa111)", "photos (bbb222)"}


def test_one_data_set_and_records_that_do_not_say_keep_their_name():
    assert {r["data"] for r in of_one_data([record(1, "aaa"), record(2, "aaa"), record(3)])} == {"photos"}
    assert {r["data"] for r in of_one_data([record(1), record(2)])} == {"photos"}
