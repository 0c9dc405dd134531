"""The table of operators: a row each, grouped by how error grows, with marks for what else the judging must know.

A row is the operator's plain name (`spelling.plain_name`) with its marks after `+`:

    jumps          an input that moves by a rounding can change a whole element of the result
    kinks          the derivative jumps where an element crosses a fixed value
    chooses        the gradient goes to elements that were chosen among others
    orders         each place of the result is such a choice among all of its row
    draws          may draw random numbers (PyTorch, "Reproducibility"; users of Generator in native_functions.yaml)
    source         makes random numbers from nothing; `source_in_place` only in its in-place form
    uninitialised  makes memory whose contents mean nothing until something is written to it
    memory         only makes or moves memory: not judged by the classic rules
    layout         moves, casts or cuts a tensor and computes nothing: may stand between the steps of a composite
    converts       its result has the dtype that it was asked for
    shaped         the shape of the result depends on the values read
    overwrites     writes every element of the tensor that it is called on, whatever that held
    additive       a sum or a difference: errors of the inputs add as they are
    mean           a sum divided by the number of its terms
    factors        a product of many: relative errors add
    runs           running sums along a dimension, each of which one kernel makes from the last and another anew
    log            the result is a logarithm
    indexed        reads or writes at indices, which may repeat
    overlaps       elements of the input may go into several of the result
    matmul, conv   products of float32 that a device may compute in a narrower type, by the setting that governs them
    places         reads at places that its second input gives, and interpolates between neighbours
    attends        a softmax of the products of its first two inputs
    vectors        results that are matrices are right up to signs, rotations or the order of rows
    unordered      which of several right answers comes is not said
    compound       several products in one call (attention, recurrent nets)
    nonexpansive   results are no further apart than what was read is
    gentle         a function of one number whose slope is nowhere above 2
    phase          the angle of a complex number, whose derivative is one over its modulus
    product        of its inputs, element by element
    own_slope      a function that is its own derivative, up to a factor
    angle          the cosine of the angle between its inputs
    apart          the distance between its inputs
    squared        the square of the difference of its inputs, or half of it where that is small
    paths          a logarithm of the likelihood of all paths through its first input, a step for each row
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

OperatorClass: TypeAlias = Literal[
    "exact", "elementwise", "contraction", "reduction", "normalisation", "exponential", "decomposition", "general"
]
Mark: TypeAlias = Literal[
    "jumps", "kinks", "chooses", "orders", "draws", "source", "source_in_place", "uninitialised", "memory", "layout",
    "converts", "shaped", "overwrites", "additive", "mean", "factors", "runs", "log", "likelihood", "indexed",
    "overlaps", "matmul", "conv", "places", "attends", "vectors", "unordered", "compound", "root", "nonexpansive",
    "gentle", "phase", "product", "own_slope", "squared", "angle", "apart", "paths",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operator:
    """One row: `kind` says how error grows, not what is computed."""

    name: str
    kind: OperatorClass
    marks: frozenset[Mark] = frozenset()


_ROWS: Mapping[OperatorClass, str] = {
    # Results are copies, selections or sign changes of inputs: no rounding (PyTorch, "Tensor Views"; IEEE 754, 5.5.1).
    "exact": """
        view+layout view_as+layout reshape+layout reshape_as+layout permute+layout transpose+layout t+layout
        movedim+layout squeeze+layout unsqueeze+layout flatten+layout unflatten+layout ravel expand+layout
        expand_as+layout broadcast_to broadcast_tensors repeat tile repeat_interleave+shaped narrow+layout select+layout
        chunk+layout split+layout split_with_sizes+layout tensor_split+layout+shaped unbind+layout hsplit vsplit dsplit
        unfold alias+layout adjoint+layout mT+layout mH+layout T+layout H+layout atleast_1d atleast_2d atleast_3d
        as_strided slice+layout diagonal diag diag_embed diagflat tril triu block_diag cartesian_prod combinations cat
        stack hstack vstack dstack column_stack flip fliplr flipud rot90 roll getitem+layout+shaped+indexed
        setitem+memory+indexed index+shaped+indexed index_select+indexed gather+indexed take+indexed
        take_along_dim+indexed masked_select+shaped masked_fill masked_fill_where where+chooses+shaped masked_scatter
        select_scatter slice_scatter diagonal_scatter as_strided_scatter scatter+indexed put+indexed index_fill+indexed
        index_copy+indexed pad+overlaps constant_pad_nd+overlaps pad_sequence+overlaps pack_padded_sequence+shaped
        pad_packed_sequence+shaped reflection_pad1d+overlaps reflection_pad2d+overlaps reflection_pad3d+overlaps
        replication_pad1d+overlaps replication_pad2d+overlaps replication_pad3d+overlaps pixel_shuffle
        pixel_unshuffle channel_shuffle flatten_dense_tensors unflatten_dense_tensors
        lu_unpack meshgrid broadcast glu_split clone+layout contiguous+layout copy+overwrites
        detach+layout to+converts+layout+memory type+converts+layout type_as+converts+layout float+converts+layout
        double+converts+layout half+converts+layout bfloat16+converts+layout long+converts int+converts short+converts
        char+converts byte+converts bool+converts cfloat+converts cdouble+converts chalf+converts dtype_cast+converts
        cpu cuda npu ipu xpu mtia numpy+memory to_dense to_sparse to_mkldnn coalesce values indices crow_indices
        col_indices ccol_indices row_indices sparse_mask view_as_real view_as_complex real imag conj conj_physical
        positive neg abs+kinks sign+jumps+kinks sgn+jumps copysign+jumps signbit+jumps embedding+indexed one_hot+jumps
        relu+kinks+gentle relu6+kinks+gentle hardtanh+kinks+gentle threshold+jumps+kinks clamp+kinks clamp_min+kinks
        clamp_max+kinks nan_to_num maximum+chooses minimum+chooses fmax+chooses fmin+chooses max+chooses min+chooses
        amax+chooses+overlaps amin+chooses+overlaps aminmax+chooses cummax+chooses cummin+chooses
        max_pool1d+chooses+overlaps max_pool2d+chooses+overlaps max_pool3d+chooses+overlaps
        adaptive_max_pool1d+chooses+overlaps adaptive_max_pool2d+chooses+overlaps adaptive_max_pool3d+chooses+overlaps
        fractional_max_pool2d+chooses+overlaps+draws fractional_max_pool3d+chooses+overlaps+draws max_unpool1d+overlaps
        max_unpool2d+overlaps max_unpool3d+overlaps sort+chooses+orders+jumps msort+chooses+orders
        topk+chooses+orders+jumps kthvalue+chooses+jumps mode+chooses+jumps+unordered median+chooses nanmedian+chooses
        argsort+jumps argmax+jumps argmin+jumps unique+jumps+shaped unique_consecutive+jumps+shaped nonzero+jumps+shaped
        nonzero_static+jumps argwhere+jumps+shaped searchsorted+jumps bucketize+jumps eq+jumps ne+jumps lt+jumps
        le+jumps gt+jumps ge+jumps isclose+jumps allclose+jumps equal+jumps isin+jumps logical_and+jumps
        logical_or+jumps logical_not+jumps logical_xor+jumps all+jumps any+jumps count_nonzero+jumps isnan isinf
        isposinf isneginf isfinite isreal+jumps bitwise_and bitwise_or bitwise_xor bitwise_not bitwise_left_shift
        bitwise_right_shift gcd lcm heaviside+jumps floor+jumps ceil+jumps round+jumps trunc+jumps frexp+jumps
        quantize_per_tensor+jumps quantize_per_channel+jumps quantize_per_tensor_dynamic+jumps int_repr
        hash_tensor+jumps unravel_index sign_bits_pack+jumps zeros zeros_like ones ones_like full full_like new_zeros
        new_ones new_full eye scalar_tensor tril_indices triu_indices tensor as_tensor asarray from_numpy frombuffer
        sparse_coo_tensor zero+overwrites fill+overwrites fill_diagonal empty+memory+uninitialised
        empty_like+memory+uninitialised empty_strided+memory+uninitialised empty_permuted+memory+uninitialised
        new_empty+memory+uninitialised new_empty_strided+memory+uninitialised empty_with_format+memory+uninitialised
        resize+memory+uninitialised resize_as+memory+uninitialised fsdp.all_gather_copy_in+memory
        fsdp.split_with_sizes_copy+memory fsdp.chunk_cat+memory pin_memory+memory share_memory+memory all_gather
        all_gather_into_tensor send recv isend irecv batch_isend_irecv all_to_all all_to_all_single gather_into_tensor
    """,
    # One rounding or a few for each element (Higham, Accuracy and Stability of Numerical Algorithms, 2002, 2.2).
    "elementwise": """
        add+additive sub+additive lerp+additive diff+additive mul+product div remainder+jumps+kinks fmod+jumps+kinks
        floor_divide+jumps frac+jumps addcmul addcdiv sqrt+root rsqrt reciprocal square pow float_power ldexp hypot
        nextafter sin+gentle+nonexpansive cos+gentle+nonexpansive
        tan asin acos atan+gentle atan2 sinh cosh tanh+gentle asinh+gentle acosh atanh
        sinc angle+phase deg2rad rad2deg sigmoid+gentle logsigmoid+gentle hardsigmoid+kinks+gentle silu+gentle
        mish+gentle gelu+gentle elu+kinks selu+kinks+gentle celu+gentle leaky_relu+kinks prelu+kinks rrelu+kinks+draws
        softplus+gentle softsign+gentle tanhshrink+gentle hardswish+kinks+gentle hardshrink+jumps+kinks
        softshrink+kinks+gentle glu swiglu geglu clipped_swiglu+kinks gelu_mul erf+gentle erfc+gentle erfcx erfinv
        ndtr+gentle ndtri log_ndtr lgamma mvlgamma digamma polygamma zeta igamma igammac i0 i0e i1 i1e bessel_j0
        bessel_j1 bessel_y0 bessel_y1 modified_bessel_i0 modified_bessel_i1 modified_bessel_k0 modified_bessel_k1
        scaled_modified_bessel_k0 scaled_modified_bessel_k1 spherical_bessel_j0 airy_ai chebyshev_polynomial_t+jumps
        chebyshev_polynomial_u+jumps chebyshev_polynomial_v+jumps chebyshev_polynomial_w+jumps
        shifted_chebyshev_polynomial_t+jumps shifted_chebyshev_polynomial_u+jumps shifted_chebyshev_polynomial_v+jumps
        shifted_chebyshev_polynomial_w+jumps hermite_polynomial_h+jumps hermite_polynomial_he+jumps
        laguerre_polynomial_l+jumps legendre_polynomial_p+jumps xlogy xlog1py entr logit logaddexp logaddexp2
        dropout+draws dropout1d+draws dropout2d+draws dropout3d+draws alpha_dropout+draws feature_dropout+draws
        feature_alpha_dropout+draws dropout_add_layer_norm+draws dropout_with_byte_mask+draws complex polar interpolate
        upsample upsample_nearest upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_bilinear
        upsample_linear1d upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d grid_sample+places+kinks
        grid_sampler_2d+places+kinks grid_sampler_3d+places+kinks affine_grid affine_grid_generator gradient+additive
        quantile+chooses nanquantile+chooses renorm fake_quantize_per_tensor_affine+jumps
        fake_quantize_per_channel_affine+jumps dequantize arange range linspace logspace fftfreq rfftfreq vander
        hann_window hamming_window blackman_window bartlett_window kaiser_window rotary_mul apply_rotary_pos_emb
        interleave_rope rand+draws+source rand_like+draws+source randn+draws+source randn_like+draws+source
        randint+draws+source randint_like+draws+source randperm+draws+source normal+draws+source+overwrites
        random+draws+source+overwrites uniform+draws+source+overwrites exponential+draws+source+overwrites
        cauchy+draws+source+overwrites geometric+draws+source+overwrites log_normal+draws+source+overwrites
        poisson+draws+source+jumps bernoulli+draws+source_in_place+jumps multinomial+draws+jumps binomial+draws+jumps
    """,
    # Sums of K products (Higham 2002, 3.1 and 3.5; Higham and Mary 2019 for the sqrt(K) of random rounding).
    "contraction": """
        linear+matmul matmul+matmul mm+matmul bmm+matmul mv+matmul dot vdot inner+matmul outer addmm+matmul
        addbmm+matmul addmv+matmul addr baddbmm+matmul einsum+matmul tensordot+matmul bilinear+matmul kron
        chain_matmul+matmul multi_dot+matmul vecdot matrix_power+matmul sampled_addmm+matmul addmm_sparse+matmul
        grouped_mm+matmul scaled_mm+matmul grouped_matmul+matmul scaled_grouped_mm+matmul batchmatmul+matmul
        conv1d+conv conv2d+conv conv3d+conv conv_tbc+conv convolution+conv conv_transpose1d+conv conv_transpose2d+conv
        conv_transpose3d+conv conv_depthwise3d+conv conv_dilated2d+conv conv_dilated3d+conv cdist
        lstm+matmul+compound+draws gru+matmul+compound+draws rnn_tanh+matmul+compound+draws
        rnn_relu+matmul+compound+draws lstm_cell+matmul+compound gru_cell+matmul+compound
        rnn_tanh_cell+matmul+compound rnn_relu_cell+matmul+compound
        scaled_dot_product_attention+attends+matmul+compound+draws multi_head_attention_forward+matmul+compound+draws
        fusion_attention+attends+matmul+compound+draws prompt_flash_attention+attends+matmul+compound
        incre_flash_attention+attends+matmul+compound fused_infer_attention_score+attends+matmul+compound
        flash_attention_forward+attends+matmul+compound+draws
        efficient_attention_forward+attends+matmul+compound+draws transformer_encoder_layer_fwd+matmul+compound
        ffn+matmul+compound
    """,
    # Sums of K terms.
    "reduction": """
        sum mean+mean nansum nanmean+mean var std var_mean+mean std_mean+mean norm+nonexpansive
        vector_norm+nonexpansive matrix_norm frobenius_norm+nonexpansive norm_except_dim dist+apart prod+factors
        cumsum+runs cumprod+factors logcumsumexp+log+runs trace trapezoid
        cumulative_trapezoid+runs sum_to_size powsum cov corrcoef cross pdist avg_pool1d+mean+overlaps
        avg_pool2d+mean+overlaps avg_pool3d+mean+overlaps adaptive_avg_pool1d+mean+overlaps
        adaptive_avg_pool2d+mean+overlaps adaptive_avg_pool3d+mean+overlaps lp_pool1d+overlaps lp_pool2d+overlaps
        lp_pool3d+overlaps index_add+indexed scatter_add+indexed scatter_reduce+indexed+kinks index_reduce+indexed+kinks
        index_put+indexed segment_reduce bincount+shaped histc+jumps histogram+jumps histogramdd+jumps
        embedding_bag+indexed fold grid_sampler moe_token_unpermute+indexed moe_finalize_routing+indexed all_reduce
        reduce reduce_scatter reduce_scatter_tensor fft ifft rfft irfft hfft ihfft fft2 ifft2 rfft2 irfft2 hfft2
        ihfft2 fftn ifftn rfftn irfftn hfftn ihfftn stft istft mse_loss+mean+squared l1_loss+mean+kinks
        smooth_l1_loss+mean+kinks+squared huber_loss+mean+kinks+squared kl_div cosine_similarity+angle
        pairwise_distance+apart cosine_embedding_loss+mean+kinks hinge_embedding_loss+mean+kinks
        margin_ranking_loss+mean+kinks triplet_margin_loss+mean+kinks triplet_margin_with_distance_loss+mean+kinks
    """,
    # Differences from a mean over a deviation: relative error grows where the mean is large against it.
    "normalisation": """
        layer_norm batch_norm group_norm instance_norm rms_norm local_response_norm normalize batch_norm_elemt
        batch_norm_stats batch_norm_gather_stats batch_norm_gather_stats_with_counts batch_norm_update_stats
        add_rms_norm add_layer_norm deep_norm group_norm_silu group_norm_swish gemma_rms_norm
    """,
    # exp turns the absolute error of its input into the relative error of its output (Higham 2002, 1.6).
    "exponential": """
        softmax log_softmax+log+likelihood softmin gumbel_softmax+draws exp+own_slope expm1 exp2+own_slope logsumexp+log
        log+log log2+log log10+log log1p+log cross_entropy+log+likelihood nll_loss+log binary_cross_entropy+log
        binary_cross_entropy_with_logits+log soft_margin_loss+log multilabel_margin_loss+log+kinks
        multilabel_soft_margin_loss+log multi_margin_loss+log poisson_nll_loss+log gaussian_nll_loss+log
        ctc_loss+log+paths linear_cross_entropy+log+matmul scaled_masked_softmax
        softmax_cross_entropy_with_logits+log+likelihood
        attn_softmax masked_softmax_with_rel_pos_bias dropout_with_add_softmax+draws moe_gating_top_k_softmax+jumps
    """,
    # Systems and factorisations: error grows with the condition of the matrix (Golub and Van Loan, Matrix Computations,
    # 4th ed., 2.6 and 8.1).
    "decomposition": """
        cholesky cholesky_ex cholesky_inverse cholesky_solve cond det slogdet+log logdet+log eig+unordered
        eigh+vectors eigvals+unordered eigvalsh inv inv_ex ldl_factor+vectors ldl_factor_ex+vectors ldl_solve
        lstsq+jumps lu+vectors lu_factor+vectors lu_factor_ex+vectors lu_solve matrix_rank+jumps pinv+jumps qr+vectors
        geqrf+vectors householder_product ormqr solve solve_ex solve_triangular svd+vectors svdvals
        svd_lowrank+draws+vectors pca_lowrank+draws+vectors tensorinv tensorsolve lobpcg+vectors nuclear_norm
        matrix_exp
    """,
}


def _rows() -> Iterator[Operator]:
    for kind, text in _ROWS.items():
        for row in text.split():
            name, *marks = row.split("+")
            unknown = set(marks) - set(get_args(Mark))
            if unknown:
                raise ValueError(f"operator {name}: no such mark as {', '.join(sorted(unknown))}")
            yield Operator(name, kind, frozenset(marks))  # type: ignore[arg-type]


def _table() -> dict[str, Operator]:
    found: dict[str, Operator] = {}
    for row in _rows():
        if row.name in found:
            raise ValueError(f"operator {row.name} has two rows")
        found[row.name] = row
    return found


OPERATORS: Mapping[str, Operator] = _table()
"""Every known operator by its plain name."""
