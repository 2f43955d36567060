from __future__ import annotations

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from adaptiveclick_med.networks import SimpleClick
from adaptiveclick_med.weights import MAE_MODELS, initialise_encoder

import timm  # isort: skip
from timm.models.vision_transformer import VisionTransformer  # isort: skip

WIDTH, DEPTH, HEADS, PATCH = 32, 4, 2, 8


def vit(side=4, **options):
    torch.manual_seed(5)
    options = {"patch_size": PATCH, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS, **options}
    model = VisionTransformer(img_size=side * PATCH, num_classes=0, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.eval()


def network(image_size=32, **options):
    torch.manual_seed(6)
    return SimpleClick(
        image_size,
        **{"patch_size": PATCH, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS, **options},
        pyramid_channels=(8, 8, 8, 8),
        head_dim=8,
    )


def assert_same_tokens(ours, model):
    """The blocks give what timm's give for the same tokens; the position of the class token is left out."""
    grid = model.patch_embed.grid_size
    image = torch.rand(1, 3, grid[0] * PATCH, grid[1] * PATCH)
    with torch.no_grad():
        tokens = model.patch_embed(image) + model.pos_embed[:, -grid[0] * grid[1] :]
        for block in model.blocks:
            tokens = block(tokens)
        ours.encoder.click_embed.weight.zero_()
        result = ours.encoder(image, torch.zeros_like(image))
    torch.testing.assert_close(result.flatten(2).transpose(1, 2), tokens, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s, "epoch": 800}])
@pytest.mark.parametrize("name", ["mae.pth", "mae.pt", "mae.safetensors", "no_suffix"])
def test_from_a_local_file(tmp_path, wrap, name):
    model, target = vit(), network()
    fresh = {key: value.clone() for key, value in target.state_dict().items()}
    if name.endswith(".safetensors"):
        safetensors.torch.save_file(model.state_dict(), tmp_path / name)
    else:
        torch.save(wrap(model.state_dict()), tmp_path / name)
    assert initialise_encoder(target, tmp_path / name) is target
    state = target.state_dict()
    kept = {key for key in fresh if torch.equal(fresh[key], state[key])}
    assert kept == {key for key in fresh if not key.startswith("encoder.") or ".click_embed." in key}
    assert_same_tokens(target, model)


def test_without_class_token(tmp_path):
    model, target = vit(class_token=False, global_pool="avg"), network()
    assert model.pos_embed.shape == (1, 16, WIDTH)
    torch.save(model.state_dict(), tmp_path / "v.pth")
    initialise_encoder(target, str(tmp_path / "v.pth"))
    assert_same_tokens(target, model)


@pytest.mark.parametrize(("size", "grid"), [(48, (6, 6)), ((16, 64), (2, 8)), ((24, 40), (3, 5))])
def test_the_position_embedding_is_resampled_bicubically(tmp_path, size, grid):
    model, target = vit(), network(size)
    torch.save(model.state_dict(), tmp_path / "v.pth")
    initialise_encoder(target, tmp_path / "v.pth")
    kept = model.pos_embed[:, 1:].reshape(1, 4, 4, WIDTH).permute(0, 3, 1, 2)
    expected = F.interpolate(kept, grid, mode="bicubic", align_corners=False).permute(0, 2, 3, 1).flatten(1, 2)
    torch.testing.assert_close(target.encoder.pos_embed, expected)


def test_none_does_nothing():
    target = network()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    assert initialise_encoder(target, None) is target
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())


class TestIllFiles:
    @pytest.fixture
    def refuse(self, tmp_path):
        def check(state, message, **options):
            target = network(**options)
            before = {key: value.clone() for key, value in target.state_dict().items()}
            torch.save(state, tmp_path / "v.pth")
            with pytest.raises(ValueError, match=message):
                initialise_encoder(target, tmp_path / "v.pth")
            assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())

        return check

    def test_another_width(self, refuse):
        refuse(vit(embed_dim=48).state_dict(), r"does not fit the encoder: .*\[144, 48\] != \[96, 32\]")

    def test_another_patch(self, refuse):
        refuse(vit(patch_size=4).state_dict(), r"patch_embed\.weight \[32, 3, 4, 4\] != \[32, 3, 8, 8\]")

    def test_fewer_blocks(self, refuse):
        refuse(vit(depth=3).state_dict(), r"it lacks \['blocks\.3\..* \(12 in all\)")

    def test_more_blocks(self, refuse):
        refuse(vit(depth=5).state_dict(), r"it also has \['blocks\.4\..* \(12 in all\)")

    def test_blocks_with_layer_scale(self, refuse):
        refuse(vit(init_values=0.1).state_dict(), r"it also has \['blocks\.0\.ls1\.gamma'")

    def test_another_architecture(self, refuse):
        refuse({"conv1.weight": torch.ones(1)}, "is no plain ViT of this size: it lacks")

    @pytest.mark.parametrize("shape", [(5,), (1, 8, WIDTH), (1, 0, WIDTH), (4, 4)])
    def test_position_embedding_of_no_square(self, refuse, shape):
        refuse({**vit().state_dict(), "pos_embed": torch.ones(shape)}, "must be of a square grid")

    def test_a_value_that_is_no_tensor(self, refuse):
        refuse({**vit().state_dict(), "blocks.0.norm1.weight": 3}, r"it lacks \['blocks\.0\.norm1\.weight'\]")

    @pytest.mark.parametrize("content", [None, 3, torch.ones(2)])
    def test_no_state_dict(self, refuse, content):
        refuse({"model": content}, "must hold a state dict")

    def test_missing_and_damaged(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="There is no weight file"):
            initialise_encoder(network(), tmp_path / "missing.pth")
        (tmp_path / "v.pth").write_bytes(b"nothing")
        with pytest.raises(ValueError, match=r"v\.pth is"):
            initialise_encoder(network(), tmp_path / "v.pth")


class TestTimm:
    @pytest.fixture
    def asked(self, monkeypatch):
        """timm gives a small model for whatever is asked, without a download."""
        asked = []

        def create_model(name, pretrained=False, **options):
            asked.append((name, pretrained))
            return vit()

        monkeypatch.setattr(timm, "create_model", create_model)
        return asked

    def test_a_model_by_name(self, asked):
        target = network()
        initialise_encoder(target, "vit_base_patch16_224.augreg_in21k")
        assert asked == [("vit_base_patch16_224.augreg_in21k", True)]
        assert_same_tokens(target, vit())

    @pytest.mark.parametrize(("width", "patch"), list(MAE_MODELS))
    def test_mae_names_the_model_of_the_size(self, asked, width, patch):
        with torch.device("meta"):
            target = SimpleClick(patch * 4, patch_size=patch, embed_dim=width, depth=DEPTH, num_heads=1)
        with pytest.raises(ValueError, match="does not fit the encoder"):
            initialise_encoder(target, "mae")
        assert asked == [(MAE_MODELS[width, patch], True)]
        assert timm.is_model_pretrained(MAE_MODELS[width, patch])

    def test_mae_of_another_size(self, asked):
        with pytest.raises(ValueError, match="no MAE weights for width 32 and patch 8; there are for 768/16, 1024/16"):
            initialise_encoder(network(), "mae")
        assert asked == []

    def test_a_folder_of_that_name_does_not_hide_it(self, tmp_path, monkeypatch, asked):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "vit_base_patch16_224.mae").mkdir()
        initialise_encoder(network(), "vit_base_patch16_224.mae")
        assert len(asked) == 1

    @pytest.mark.parametrize("name", ["no_such_model", "", "hf-hub:someone/vit"])
    def test_unknown_name(self, asked, name):
        with pytest.raises(ValueError, match="source must be 'mae', a timm model or a file, got"):
            initialise_encoder(network(), name)
        assert asked == []

    def test_unknown_weights_of_a_known_model(self):
        with pytest.raises(ValueError, match=r"timm has no weights 'vit_tiny_patch16_224\.no_such'"):
            initialise_encoder(network(), "vit_tiny_patch16_224.no_such")
