"""The benchmark's PyTorch models are the functions that jaxvae trains: outputs, loss and gradients."""

from dataclasses import replace
from time import sleep

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.speed.__main__ import MODELS, study_of
from experiments.speed.ours import Draws, Trainer
from jaxvae.data import Split, load
from jaxvae.fit import build_model
from jaxvae.flags import DataFlags
from jaxvae.losses import RECONSTRUCTIONS
from jaxvae.models import decode, encode
from jaxvae.objective import negative_elbo
from jaxvae.train import init_state
from jaxvae.types import Hparams

torch = pytest.importorskip("torch")
from experiments.speed.torch_loops import AsWritten, Images, Tuned, loss_function  # noqa: E402
from experiments.speed.torch_models import build, fill  # noqa: E402

SIZE = 5


@pytest.fixture(params=MODELS)
def model(request):
    """A study, its model without noise, its parameters, and five images with labels."""
    study = study_of(request.param, DataFlags(dataset="digits"))
    vae = build_model(study.model, (28, 28, 1), 10).clone(noise="none")
    params = init_state(vae, (28, 28, 1), jax.random.key(0), Hparams()).params
    rng = np.random.default_rng(0)
    return study, vae, params, rng.uniform(size=(SIZE, 28, 28, 1)).astype(np.float32), rng.integers(0, 10, SIZE)


def torch_loss(study, net, image, label):
    """The loss of decoded means."""
    loss = loss_function(study.model.reconstruction, study.sweep.variances[0], from_logits=True)
    image, label = torch.from_numpy(image.transpose(0, 3, 1, 2)), torch.from_numpy(label)
    mean, logvar = net.encode(image, label)
    return loss(net.decode(mean, label), image, mean, logvar)


def test_loss_and_gradients(model):
    study, vae, params, image, label = model
    hparams = Hparams(variance=study.sweep.variances[0])
    keys = jax.random.split(jax.random.key(1), SIZE)

    def ours(params):
        terms = negative_elbo(
            vae,
            RECONSTRUCTIONS[study.model.reconstruction],
            params,
            jnp.asarray(image),
            jnp.asarray(label),
            keys,
            hparams,
        )
        return jnp.mean(terms.loss)

    expected, gradient = jax.value_and_grad(ours)(params)
    net = build(study.model.architecture, jax.tree.map(np.asarray, params))
    found = torch_loss(study, net, image, label)
    np.testing.assert_allclose(found.item(), expected, rtol=1e-5)

    found.backward()
    as_theirs = build(study.model.architecture, jax.tree.map(np.asarray, gradient))  # the gradient laid out as theirs
    for (name, weight), (_, ours_is) in zip(net.named_parameters(), as_theirs.named_parameters(), strict=True):
        scale = float(weight.grad.abs().max())
        np.testing.assert_allclose(weight.grad, ours_is.detach(), rtol=1e-3, atol=1e-5 * scale, err_msg=name)


def test_bernoulli_as_written_is_the_same_loss():
    rng = np.random.default_rng(0)
    logits, image = (torch.from_numpy(rng.uniform(size=(2, 1, 4, 4)).astype(np.float32)) for _ in range(2))
    mean, logvar = torch.zeros(2, 3), torch.zeros(2, 3)
    losses = [loss_function("bernoulli", 0.5, from_logits=way)(logits, image, mean, logvar) for way in (True, False)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_images_are_converted_one_by_one_as_to_tensor_does():
    image = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    data = Images(image, np.array([3, 4], np.int32))
    tensor, label = data[1]
    assert (len(data), label, tensor.shape, tensor.dtype) == (2, 4, (1, 28, 28), torch.float32)
    np.testing.assert_array_equal(tensor[0], image[1].astype(np.float32) / 255)


def test_a_posterior_sample_is_what_is_decoded(model):
    """With noise 1, z is mean + exp(logvar / 2)."""
    study, vae, params, image, label = model
    net = build(study.model.architecture, jax.tree.map(np.asarray, params))
    noise = torch.ones(SIZE, vae.latent_dim)
    logits, mean, logvar = net(torch.from_numpy(image.transpose(0, 3, 1, 2)), torch.from_numpy(label), noise)
    posterior = encode(vae, params, jnp.asarray(image), jnp.asarray(label))
    expected = decode(vae, params, posterior.mean + jnp.exp(0.5 * posterior.logvar), jnp.asarray(label))
    np.testing.assert_allclose(mean.detach(), posterior.mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logvar.detach(), posterior.logvar, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits.detach()[:, 0], expected[..., 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["eager", "eager channels-last"])
def test_a_tuned_step_is_a_step_as_written(model, variant):
    """The same gradient and, to Adam's sensitivity to tiny ones, the same parameters."""
    study, vae, params, image, label = model
    rng = np.random.default_rng(1)
    draws = Draws(rng.permutation(SIZE), rng.normal(size=(SIZE, vae.latent_dim)).astype(np.float32))
    data = Images((255 * image[..., 0]).astype(np.uint8), label)
    nets, losses = [], []
    for kind, settings in ((AsWritten, {}), (Tuned, {"variant": variant})):
        loss = loss_function(study.model.reconstruction, study.sweep.variances[0], from_logits=kind is Tuned)
        nets.append(build(study.model.architecture, jax.tree.map(np.asarray, params)))
        loop = kind(nets[-1], data, loss, SIZE, 1e-3, **settings)
        losses.append(loop.epoch(draws))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    for tuned, written in zip(nets[1].parameters(), nets[0].parameters(), strict=True):
        scale = float(written.grad.abs().max())
        np.testing.assert_allclose(tuned.grad, written.grad, rtol=1e-3, atol=1e-5 * scale)
        assert float((tuned - written).detach().abs().mean()) < 1e-5  # a hundredth of the step


def test_the_fastest_variant_is_chosen_and_one_that_fails_is_named(monkeypatch):
    study = study_of("B", DataFlags(dataset="digits"))
    params = init_state(build_model(study.model, (28, 28, 1), 10), (28, 28, 1), jax.random.key(0), Hparams()).params
    monkeypatch.setattr("experiments.speed.torch_loops.TURN", 0.1)

    def step_function(self, model, variant):
        if "compiled" in variant:
            raise RuntimeError("no compiler here")
        return lambda index, noise: sleep(0.02 if variant == "eager" else 0.005)

    monkeypatch.setattr(Tuned, "step_function", step_function)
    data = Images(np.zeros((SIZE, 28, 28), np.uint8), np.zeros(SIZE, np.int32))
    loss = loss_function(study.model.reconstruction, 0.5, from_logits=True)
    loop = Tuned(build(study.model.architecture, jax.tree.map(np.asarray, params)), data, loss, SIZE, 1e-3)
    assert {loop.tried[name] for name in ("compiled", "compiled channels-last")} == {"failed: RuntimeError"}
    assert loop.variant == "eager channels-last"
    assert 0.005 < loop.tried["eager channels-last"] < 0.02 < loop.tried["eager"]


@pytest.mark.parametrize("kind", [AsWritten, Tuned])
def test_a_loop_trains(kind, monkeypatch):
    monkeypatch.setattr("experiments.speed.torch_loops.variants", lambda model: ["eager"])  # no compiler in a test
    monkeypatch.setattr("experiments.speed.torch_loops.TURN", 0.01)
    study = study_of("A", DataFlags(dataset="digits"))
    vae = build_model(study.model, (28, 28, 1), 10)
    params = init_state(vae, (28, 28, 1), jax.random.key(0), Hparams()).params
    rng = np.random.default_rng(0)
    data = Images(rng.integers(0, 256, (20, 28, 28), np.uint8), np.zeros(20, np.int32))
    loss = loss_function("bernoulli", 0.5, from_logits=kind is Tuned)
    loop = kind(build("mlp", jax.tree.map(np.asarray, params)), data, loss, 8, 1e-3)
    draws = Draws(np.arange(20), np.zeros((20, 20), np.float32))
    first, *_, last = (loop.epoch(draws).mean() for _ in range(5))
    assert last < 0.99 * first


@pytest.mark.parametrize("name", ["A", *(pytest.param(name, marks=pytest.mark.slow) for name in MODELS if name != "A")])
def test_an_epoch_from_the_same_draws_has_jaxvae_s_loss(name):
    """In each of the first steps, and over twelve, the last on fewer images; not with another rate, order or noise."""
    study = study_of(name, DataFlags(dataset="digits", limit=90))
    study = replace(study, sweep=replace(study.sweep, batch_size=8))
    digits = load("digits")
    chosen = slice(180, 270)  # with the first 90, B's rounding grows to 1e-4 in nine steps
    trainer = Trainer(study, replace(digits, train=Split(*(x[chosen] for x in digits.train))))
    params, draws = trainer.initial_params(), trainer.draws(1)
    epoch, rate = trainer.epoch(), study.sweep.learning_rates[0]
    ours, weight = epoch.beginning, [8] * 11 + [2]
    images = Images(digits.train.image[chosen, ..., 0], digits.train.label[chosen])

    def theirs(kind, draws, rate):
        loss = loss_function(study.model.reconstruction, study.sweep.variances[0], from_logits=kind is Tuned)
        settings = {"variant": "eager"} if kind is Tuned else {}
        losses = kind(build(study.model.architecture, params), images, loss, 8, rate, **settings).epoch(draws)
        np.testing.assert_equal(len(losses), len(weight))
        return np.asarray(losses)[: len(ours)], np.average(losses, weights=weight)

    for kind in (AsWritten, Tuned):
        first, mean = theirs(kind, draws, rate)
        np.testing.assert_allclose(first, ours, rtol=1e-5)
        np.testing.assert_allclose(mean, epoch.loss, rtol=2e-5)
    for other in (draws._replace(order=draws.order[::-1].copy()), draws._replace(noise=draws.noise[::-1].copy())):
        assert np.abs(theirs(Tuned, other, rate)[0] / ours - 1).max() > 1e-4
    assert np.abs(theirs(Tuned, draws, 1.1 * rate)[0] / ours - 1).max() > 1e-4


def test_fill_refuses_another_number_of_layers():
    with pytest.raises(ValueError, match="zip"):
        fill(torch.nn.Sequential(torch.nn.Linear(2, 3)), [])
