import importlib
import inspect
import pickle
import pkgutil

import aioproducer
from aioproducer import ErrorCode, ProducerError, RecordMetadata, TopicPartition


def test_all_names_exist_and_are_sorted() -> None:
    names = aioproducer.__all__
    assert sorted(names) == names
    assert len(set(names)) == len(names)
    for name in names:
        assert hasattr(aioproducer, name)


def test_public_names_are_in_all() -> None:
    modules = {module.name for module in pkgutil.iter_modules(aioproducer.__path__)}
    there = {name for name in vars(aioproducer) if not name.startswith("_")}
    assert there - modules - {"annotations"} == set(aioproducer.__all__) - {"__compiled__", "__version__"}


def test_every_error_is_public() -> None:
    errors = importlib.import_module("aioproducer.errors")
    own = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, ProducerError) and kind.__module__ == errors.__name__
    }
    assert own <= set(aioproducer.__all__)


def test_public_names_are_documented() -> None:
    for name in aioproducer.__all__:
        thing = getattr(aioproducer, name)
        if inspect.isclass(thing):
            assert thing.__doc__, name
    for name, method in inspect.getmembers(aioproducer.Producer, callable):
        if not name.startswith("_"):
            assert method.__doc__, name


def test_values_can_be_pickled() -> None:
    for value in (RecordMetadata("orders", 1, 2, 3), TopicPartition("orders", 1), ErrorCode.NONE):
        assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301 - our own


def test_build_kind_is_public() -> None:
    assert isinstance(aioproducer.__compiled__, bool)
    assert aioproducer.__version__.count(".") == 2
