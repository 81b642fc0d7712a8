import { native } from '../native/load';
import { ACCUMULATED, unaryOutput } from '../tensor/autograd';
import { checkTensor } from '../tensor/check';
import type { Tensor } from '../tensor/tensor';
import { withTemporaries } from './temporaries';

/**
 * Rows of a table by number. The gradient of the table is float32 where the table is, with the rows added up in the
 * order of the ids, so it does not depend on the number of threads.
 *
 * @param ids int32 or int64 [...]
 * @param table [V, D] of any dtype
 * @returns [..., D] in the dtype of the table
 * @throws ERR_SHAPE, ERR_DTYPE; ERR_INDEX_RANGE at the next await for an id outside 0..V-1
 *
 * @example
 * const y = embedding(tensor(new Int32Array([1, 0])), tensor([[1, 2], [3, 4]])); // [[3, 4], [1, 2]]
 */
export function embedding(ids: Tensor, table: Tensor): Tensor {
  checkTensor('embedding', 'ids', ids);
  checkTensor('embedding', 'table', table);
  const { dtype, shape } = table;
  return unaryOutput(
    'embedding',
    [ids, table],
    (context) => {
      context.save(ids.handle);
      return native().embeddingForward(ids.handle, table.handle);
    },
    ([dy], [savedIds], { into }) => {
      const existing = into(1);
      const gradient = native().embeddingBackward(dy!, savedIds!, shape[0]!, existing);
      if (existing) {
        native().release(gradient);
        return [null, ACCUMULATED];
      }
      if (dtype === 'float32') return [null, gradient];
      return [null, withTemporaries((temporary) => native().cast(temporary(gradient), dtype))];
    },
  );
}

/**
 * One row of each block: row `index[n]` of `x[n]`.
 *
 * @param x [N, L, D] of any dtype
 * @param index int32 or int64 [N]
 * @returns [N, D]
 * @throws ERR_SHAPE, ERR_DTYPE; ERR_INDEX_RANGE at the next await for an index outside 0..L-1
 *
 * @example
 * const y = gatherRows(tensor([[[1], [2]], [[3], [4]]]), tensor(new Int32Array([1, 0]))); // [[2], [3]]
 */
export function gatherRows(x: Tensor, index: Tensor): Tensor {
  checkTensor('gather_rows', 'x', x);
  checkTensor('gather_rows', 'index', index);
  const length = x.shape[1];
  return unaryOutput(
    'gather_rows',
    [x, index],
    (context) => {
      context.save(index.handle);
      return native().gatherRowsForward(x.handle, index.handle);
    },
    ([dy], [savedIndex]) => [native().gatherRowsBackward(dy!, savedIndex!, length!), null],
  );
}
