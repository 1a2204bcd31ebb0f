"""Posteriors of networks: distributions of weights whose draws are networks that can be deployed."""

from tsnn_uq.bayes.ensemble import Ensemble
from tsnn_uq.bayes.laplace import LastLayerLaplace
from tsnn_uq.bayes.posterior import Posterior
from tsnn_uq.bayes.posterior_files import load_draws, load_posterior, save_draws, save_posterior
from tsnn_uq.bayes.swag import CollectSwag, Swag
from tsnn_uq.bayes.variational_inference import Variational, infer
from tsnn_uq.bayes.variational_posterior import (
    VariationalPosterior,
    dropconnect_posterior,
    gaussian_posterior,
    ternary_posterior,
)

__all__ = [
    "CollectSwag",
    "Ensemble",
    "LastLayerLaplace",
    "Posterior",
    "Swag",
    "Variational",
    "VariationalPosterior",
    "dropconnect_posterior",
    "gaussian_posterior",
    "infer",
    "load_draws",
    "load_posterior",
    "save_draws",
    "save_posterior",
    "ternary_posterior",
]
